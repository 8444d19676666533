# timm's CBAM (Woo et al. 2018), reduction 16, kernel 7. Use it in plugins as `{{_base_.attention}}`.
attention = dict(type='mmhoga.Attention', name='cbam')
