"""What grad-cam, attention-maps, selectivity and tsne share: arguments, trained networks, images."""
