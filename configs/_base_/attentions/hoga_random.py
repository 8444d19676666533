# HOGA with a random operation per edge, `none` excluded (Table 6, "Rand_HOGA"). The paper publishes none. Ours:
# rng = random.Random(0); [[rng.choice(PRIMITIVES[1:]) for _ in range(k + 1)] for k in range(4)].
attention = dict(
    type='mmhoga.HOGA',
    genotype=[
        ['se_avgmax'],
        ['se_avgmax', 'skip_connect'],
        ['spatial_3x3_d2', 'cbam', 'se_avgmax'],
        ['spatial_3x3_d2', 'cbam', 'se', 'spatial_3x3'],
    ],
)
