"""scikit-learn: a hard IF in a pipeline, and a search over its points.

The problem: a table whose rule changes at certain values of one column, the key, and a grid search that compares
guesses of these values with ranges that are found.

``SwitchRegressor`` is an estimator like any other: it clones, pickles, and takes part in pipelines and searches. It
standardizes its inputs and targets by itself, so it needs no scaler. One in front of it does harm: points are in the
key's units, and a scaler changes these. Branches of straight lines are solved, not trained, so a search takes seconds.

The one rule: keep the key out of any scaling, or leave the scaler out.
"""

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hardgrad_lab import SwitchRegressor

random = np.random.default_rng(0)
kwh = random.uniform(0, 6000, 1500)  # the key: what a household used
persons = random.integers(1, 6, 1500).astype(float)
cost = np.select([kwh < 1500, kwh < 3500], [0.30 * kwh + 20, 0.20 * kwh + 60], 0.45 * kwh - 200) + 8 * persons
cost += random.normal(0, 5, 1500)
X = np.column_stack([kwh, persons])
X[random.random(1500) < 0.05, 1] = np.nan  # some did not say how many they are
X_train, X_test, y_train, y_test = train_test_split(X, cost, random_state=0)

# Columns come out in the order of the transformers: the key first, as it was.
prepare = ColumnTransformer(
    [("key", "passthrough", [0]), ("rest", make_pipeline(SimpleImputer(), StandardScaler()), [1])]
)
pipeline = make_pipeline(prepare, SwitchRegressor(key=0, branch="linear", random_state=0))
search = GridSearchCV(
    pipeline,
    {"switchregressor__points": [[0, 6000], [0, 3000, 6000], [0, 1500, 3500, 6000]]},
    scoring="neg_root_mean_squared_error",
    cv=3,
)
search.fit(X_train, y_train)
assert search.best_params_ == {"switchregressor__points": [0, 1500, 3500, 6000]}, search.best_params_
error = -search.score(X_test, y_test)
line = make_pipeline(SimpleImputer(), LinearRegression())
plain = -cross_val_score(line, X, cost, scoring="neg_root_mean_squared_error", cv=3).mean()
assert error < 8, error  # the noise is 5, and a missing number of persons costs some
assert plain > 10 * error, plain

found = make_pipeline(prepare, SwitchRegressor(search=4, key=0, branch="linear", random_state=0)).fit(X_train, y_train)
points = found[-1].points_  # nobody said where the breaks are
assert np.allclose(points[1:-1], [1500, 3500], atol=15), points
assert found.predict(X_test).tolist() == found.predict(X_test).tolist()
print(f"error {error:.2f}, a line {plain:.1f}; points found: {np.round(points, 1).tolist()}")
