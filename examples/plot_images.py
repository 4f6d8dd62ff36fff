"""
Draw and complete images
========================

An image is a row, and its pixels are the columns. With ``structure="quad-graph"``, the model
knows which pixels are neighbours: it divides an image into quarters, and these into quarters
again, down to single pixels. The example draws new digits, completes covered ones, and compares
structures.
"""

# %%
# Fit a model to digits
# ---------------------
# The table has handwritten digits of 8 x 8 pixels, with values from 0 to 16. Since the pixels are
# whole numbers, each value has a probability: that of a cell of a grid under normal densities.
import numpy as np
from sklearn.datasets import load_digits

from sklearn_einet import EinetDensity, EinetMixture
from sklearn_einet.inspection import ImageGridDisplay, LogDensityDisplay

X = load_digits().data.astype(np.uint8)
order = np.random.RandomState(0).permutation(len(X))
train, test = X[order[:1300]], X[order[1300:]]

parameters = {"image_shape": (8, 8), "leaf": "normal", "tol": 0.2, "random_state": 0}
model = EinetDensity(structure="quad-graph", K=32, **parameters).fit(train)

# %%
# Draw new digits
# ---------------
# ``noise=False`` leaves out the noise of single pixels: each pixel gets its most probable value.
shown = {"noise": False, "value_range": (0, 16), "random_state": 0}
_ = ImageGridDisplay.from_estimator(model, n_samples=40, n_columns=20, **shown)

# %%
# Complete covered digits
# -----------------------
# Without its upper half, a digit is ambiguous. Each row shows a digit, the same digit with its
# upper half covered, and ten draws of the covered half given the visible one. Some draws agree
# with the original, others are different digits.
covered = test[:6].astype(float)
covered[:, :32] = np.nan
_ = ImageGridDisplay.from_estimator(model, covered, original=test[:6], n_draws=10, **shown)

# %%
# Compare structures
# ------------------
# Which structure is best? The output shows the mean log-density of test images, in nats; higher
# is better. A tree of quarters combines four quarters in one way, the graph in two. The learned
# tree is not told which pixels are neighbours. It finds the pixels that depend on each other, and
# is best for images as small as these. In a mixture of ten small networks, one for each cluster
# of images, each network has little to learn from.
others = {
    "quad graph": model,
    "quad tree": EinetDensity(structure="quad-tree", K=32, **parameters),
    "learned tree": EinetDensity(structure="chow-liu", K=32, **parameters),
    "rectangles": EinetDensity(structure="poon-domingos", delta=[4, 8], K=8, **parameters),
    "ten quad trees": EinetMixture(10, structure="quad-tree", K=8, **parameters),
}
for name, other in others.items():
    if other is not model:
        other.fit(train)
    print(f"{name:14s} {other.score(test):.1f}")

# %%
# Detect images that are not digits
# ---------------------------------
# Most digits that are turned upside down are below the outlier threshold; an upside-down 0 or 8
# still looks like a digit. Images with shuffled pixels are all below the threshold.
sets = {"digits": test, "upside down": test.reshape(-1, 8, 8)[:, ::-1].reshape(test.shape)}
_ = LogDensityDisplay.from_estimator(model, sets)
sets["pixels shuffled"] = test[:, np.random.RandomState(0).permutation(64)]
for name, images in sets.items():
    print(f"{name:15s} {np.mean(model.predict(images) == -1):4.0%} below the threshold")
