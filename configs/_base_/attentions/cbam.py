# CBAM (Woo et al. 2018), reduction 16, kernel 7, as timm has it. `{{_base_.attention}}` goes into plugins.
attention = dict(type='mmhoga.Attention', name='cbam')
