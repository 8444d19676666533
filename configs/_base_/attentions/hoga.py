# The paper's HOGA (Fig. 3). Use it in plugins as `{{_base_.attention}}`. genotype also takes a path to a genotype.json.
attention = dict(type='mmhoga.HOGA', genotype='autola')
