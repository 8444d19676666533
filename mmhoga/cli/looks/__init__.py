"""The commands grad-cam, attention-maps, selectivity and tsne, which look into trained networks."""
