"""A first training: look at the epochs, the metrics and the model, and compare two networks.

Run it as a script, or cell by cell where `# %%` is understood.
"""

# %% Train a network; the data is the sample that comes with the package.
import sentiment_tune as st

st.quiet_mlflow()  # which would tell of every table and experiment it makes
run = st.train("embedding", data="sample")
print(run.epochs)
print(f"test accuracy {run.metrics['test_accuracy']:.4f}, best epoch {run.metrics['best_epoch']}")

# %% The model scores raw texts: a table of probability and label, or an array of both classes' probabilities.
print(run.model.predict(["a clever, charming film", "a dull one"]))
print(run.model.predict_proba(["a clever, charming film"]))

# %% Another network on the same data, and who is ahead by more than noise.
st.train("linear", data="sample", progress=False)
print(st.leaderboard()[["network", "val_accuracy", "test_accuracy", "verdict"]])

# %% The better one becomes a version in the model registry, which is loaded by its alias.
for registration in st.register(run):
    print(registration.name, registration.version, registration.alias, registration.reason)
champion = st.load_model("models:/sentiment-embedding@champion")
print(champion.predict(["not dull at all"]))
