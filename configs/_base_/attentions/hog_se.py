# HOGA with channel attention on all ten edges (Table 6, "HOG_SE"). Use it in plugins as `{{_base_.attention}}`.
attention = dict(type='mmhoga.HOGA', genotype='hog_se')
