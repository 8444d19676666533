# HOGA with CBAM on all ten edges (Table 6, "HOG_CBAM"). Use it in plugins as `{{_base_.attention}}`.
attention = dict(type='mmhoga.HOGA', genotype='hog_cbam')
