# The attention that the paper found (Fig. 3), or a path to a genotype.json. `{{_base_.attention}}` goes into plugins.
attention = dict(type='mmhoga.HOGA', genotype='autola')
