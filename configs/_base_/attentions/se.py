# Squeeze-and-Excitation (Hu et al. 2018), reduction 16, as timm has it. `{{_base_.attention}}` goes into plugins.
attention = dict(type='mmhoga.Attention', name='se')
