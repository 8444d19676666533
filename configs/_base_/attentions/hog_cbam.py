# HOGA with CBAM on all ten edges (Table 6, "HOG_CBAM"). `{{_base_.attention}}` goes into plugins.
attention = dict(type='mmhoga.HOGA', genotype='hog_cbam')
