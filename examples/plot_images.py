"""
Images: drawing digits, and completing covered ones
===================================================

Pixels are columns, and an image is a row. With ``structure="poon-domingos"`` the model knows which
pixels are neighbours; :class:`~sklearn_einet.EinetMixture` fits one network to each cluster of
images.
"""

# %%
# Handwritten digits of 8 x 8 pixels with values from 0 to 1. ``variance_bounds`` keeps the
# densities of single pixels from becoming needles where nearly all images are black.
import numpy as np
from sklearn.datasets import load_digits

from sklearn_einet import EinetDensity, EinetMixture
from sklearn_einet.inspection import ImageGridDisplay, LogDensityDisplay

X = load_digits().data / 16
order = np.random.RandomState(0).permutation(len(X))
train, test = X[order[:1300]], X[order[1300:]]

parameters = {
    "structure": "poon-domingos",
    "image_shape": (8, 8),
    "delta": [4, 8],
    "variance_bounds": (1e-3, 1e-1),
    "tol": 0.5,
    "random_state": 0,
}
mixture = EinetMixture(n_components=10, K=4, n_jobs=2, **parameters).fit(train)
single = EinetDensity(K=8, **parameters).fit(train)

# %%
# New digits. ``noise=False`` leaves out the noise of single pixels and shows what the model has
# chosen for them.
ImageGridDisplay.from_estimator(
    mixture, n_samples=40, n_columns=20, noise=False, value_range=(0, 1), random_state=0
)

# %%
# Without their upper half, digits are ambiguous. Ten draws of what may be there, given what is
# seen: some of them agree, and some are other digits.
covered = test[:6].copy()
covered[:, :32] = np.nan
ImageGridDisplay.from_estimator(
    mixture, covered, original=test[:6], n_draws=10, noise=False, random_state=0
)

# %%
# Which component a covered image belongs to is a question with an exact answer.
print(mixture.responsibilities(covered).round(2))

# %%
# Is one network as good? The mean log-densities of test images, in nats; with few images,
# clusters leave little to learn from for each network. A learned tree (what the default comes to
# under `variance_bounds`) was not told which pixels are neighbours and found out what belongs
# together: it is the best here.
tree = EinetDensity(
    structure="chow-liu", variance_bounds=(1e-3, 1e-1), tol=0.5, random_state=0
).fit(train)
for name, model in {"mixture": mixture, "single network": single, "learned tree": tree}.items():
    print(f"{name:14s} {model.score(test):.1f}")

# %%
# What is no digit is less likely. Most images that are turned upside down are below the threshold
# of outliers, but a 0 or an 8 is hardly another image then; images whose pixels were exchanged
# among each other are out of the question.
sets = {
    "digits": test,
    "upside down": test.reshape(-1, 8, 8)[:, ::-1].reshape(test.shape),
    "pixels exchanged": test[:, np.random.RandomState(0).permutation(64)],
}
display = LogDensityDisplay.from_estimator(single, sets)
display.ax_.set_yscale("log")
for name, images in sets.items():
    print(f"{name:16s} {np.mean(single.predict(images) == -1):4.0%} below the threshold")
