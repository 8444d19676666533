# timm's Squeeze-and-Excitation (Hu et al. 2018), reduction 16. Use it in plugins as `{{_base_.attention}}`.
attention = dict(type='mmhoga.Attention', name='se')
