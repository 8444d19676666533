"""Barnes-Hut t-SNE of features (van der Maaten 2014; supplement, Fig. 2), and a score of how well classes separate."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

#: Wider features are first projected to this many principal components, as in the paper of Barnes-Hut t-SNE.
COMPONENTS = 50


def embed(features: np.ndarray, *, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Embed ``(N, C)`` features as ``(N, 2)`` float64. On one machine the same seed gives the same result.

    The embedding starts from the first two principal components, so the seed has little influence.

    Raises:
        ValueError: perplexity is below 1 or not below N, or features are not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if not np.isfinite(features).all():
        raise ValueError('The features are not all finite: the network diverged, or its checkpoint is damaged.')
    if not 1 <= perplexity < len(features):
        raise ValueError(
            f'perplexity = {perplexity:g} must be at least 1 and below the number of images, {len(features)}. '
            'It is roughly the number of neighbours considered per point.'
        )
    if features.shape[1] > COMPONENTS < len(features):
        features = PCA(COMPONENTS, random_state=seed).fit_transform(features)
    method = TSNE(
        perplexity=perplexity, method='barnes_hut', init='pca', learning_rate='auto', random_state=seed, n_jobs=1
    )
    return np.asarray(method.fit_transform(features), dtype=np.float64)


def neighbour_score(points: np.ndarray, labels: np.ndarray) -> float:
    """The share of points ``(N, D)`` whose nearest neighbour has the same label."""
    points, labels = np.asarray(points), np.asarray(labels)
    if len(points) < 2:
        raise ValueError(f'A nearest neighbour needs at least 2 points, not {len(points)}.')
    nearest = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(return_distance=False)[:, 0]
    return float(np.mean(labels[nearest] == labels))
