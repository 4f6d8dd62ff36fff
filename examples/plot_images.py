"""
Images: drawing digits, and completing covered ones
===================================================

Pixels are columns, and an image is a row. With ``structure="quad-graph"`` the model knows which
pixels are neighbours: an image is made of quarters, these of quarters again, down to single pixels.
"""

# %%
# Handwritten digits of 8 x 8 pixels with values from 0 to 16. As whole numbers, pixels have
# probabilities: those of the cells of a grid under normal densities.
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
# New digits. ``noise=False`` leaves out the noise of single pixels and shows what the model has
# chosen for them.
shown = {"noise": False, "value_range": (0, 16), "random_state": 0}
ImageGridDisplay.from_estimator(model, n_samples=40, n_columns=20, **shown)

# %%
# Without their upper half, digits are ambiguous. Ten draws of what may be there, given what is
# seen: some of them agree, and some are other digits.
covered = test[:6].astype(float)
covered[:, :32] = np.nan
ImageGridDisplay.from_estimator(model, covered, original=test[:6], n_draws=10, **shown)

# %%
# Which structure is best? The mean log-densities of test images, in nats. A tree of quarters has
# one way to put four of them together, the graph has two. A learned tree was not told which pixels
# are neighbours and found out what belongs together: of images as small as these it makes most. In
# a mixture of ten small networks, one for each cluster of images, each has little to learn from.
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
# What is no digit is less likely. Most images that are turned upside down are below the threshold
# of outliers, but a 0 or an 8 is hardly another image then; images whose pixels were exchanged
# among each other are out of the question.
sets = {"digits": test, "upside down": test.reshape(-1, 8, 8)[:, ::-1].reshape(test.shape)}
LogDensityDisplay.from_estimator(model, sets)
sets["pixels exchanged"] = test[:, np.random.RandomState(0).permutation(64)]
for name, images in sets.items():
    print(f"{name:16s} {np.mean(model.predict(images) == -1):4.0%} below the threshold")
