"""``mmhoga doctor``: what is installed, what mmhoga stands in for, what will not work, and the command that mends it.

* :mod:`.command`: the command and what it prints.
* :mod:`.packages`: the uses of mmhoga, the packages that each needs, and the remedies for known errors.
* :mod:`.checks`: one function per check of an installed package.
* :mod:`.self_test`: HOGA, a search step and a checkpoint, on tiny data.
* :mod:`.accelerator`: the GPU, compared with the CPU.

Only :mod:`.packages` and :mod:`.command` are imported before a check runs. They need the standard library.
"""
