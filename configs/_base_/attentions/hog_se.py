# HOGA with channel attention on all ten edges (Table 6, "HOG_SE"). `{{_base_.attention}}` goes into plugins.
attention = dict(type='mmhoga.HOGA', genotype='hog_se')
