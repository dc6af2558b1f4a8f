"""A marimo notebook."""

import marimo

app = marimo.App()


@app.cell
def _():
    " and ".join(["one", "two"])
    return


if __name__ == "__main__":
    app.run()
