"""Reviews of your own: from a table in memory, from a file, and from lists, with scikit-learn around it.

Run it as a script, or cell by cell where `# %%` is understood.
"""

# %% Any table with a column of texts and one of labels; here the sample stands in for yours.
import pandas as pd

import sentiment_tune as st
from sentiment_tune.data import sample

train, test = sample.reviews()
frame = pd.DataFrame(train, columns=["review", "stars"])
run = st.train("embedding", data=frame, text="review", label="stars", progress=False)
print(f"of a table: test accuracy {run.metrics['test_accuracy']:.4f} on a fifth that was drawn for the test")

# %% The same from a file, whose path is in the run's settings, so that the run can be repeated from them.
frame.to_csv("reviews.csv", index=False)
run = st.train("embedding", data="reviews.csv", text="review", label="stars", progress=False)
print(f"of a file: test accuracy {run.metrics['test_accuracy']:.4f}")

# %% scikit-learn's habits: cross-validation, pipelines and grid search work as with any classifier.
from sklearn.model_selection import cross_val_score

texts, labels = frame["review"].tolist(), frame["stars"].tolist()
classifier = st.SentimentClassifier("linear", epochs=2)
print(f"three folds: {cross_val_score(classifier, texts, labels, cv=3)}")
classifier.fit(texts, labels)
held_out = [text for text, _ in test]
print(f"on texts apart: {classifier.score(held_out, [label for _, label in test]):.4f}")
