"""Barnes-Hut t-SNE of a layer's features, several checkpoints side by side."""

import sys

from mmhoga.launch.analyses.tsne import tsne_main

if __name__ == '__main__':
    sys.exit(tsne_main())
