"""Trains a network of one hidden layer on handwritten digits, and keeps the best weights in modeldir."""
import argparse
import os

import numpy as np


def load(path):
    table = np.loadtxt(path, delimiter=",")
    images, labels = table[:, :-1] / 16.0, table[:, -1].astype(int)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    return (images[:1400], labels[:1400]), (images[1400:], labels[1400:])


def forward(weights, images):
    hidden = np.maximum(0, images @ weights["w1"] + weights["b1"])
    scores = hidden @ weights["w2"] + weights["b2"]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, scores / scores.sum(axis=1, keepdims=True)


def accuracy(weights, images, labels):
    return float((forward(weights, images)[1].argmax(axis=1) == labels).mean())


def step(weights, images, labels, rate):
    hidden, scores = forward(weights, images)
    scores[np.arange(len(labels)), labels] -= 1
    scores /= len(labels)
    back = (scores @ weights["w2"].T) * (hidden > 0)
    for name, gradient in (("w1", images.T @ back), ("b1", back.sum(0)), ("w2", hidden.T @ scores), ("b2", scores.sum(0))):
        weights[name] -= rate * gradient


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=0.5)
    arguments = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    (images, labels), (test_images, test_labels) = load(os.path.join(here, "digits.csv.gz"))
    random = np.random.default_rng(1)
    weights = {"w1": random.normal(0, 0.2, (64, 48)), "b1": np.zeros(48), "w2": random.normal(0, 0.2, (48, 10)), "b2": np.zeros(10)}
    for epoch in range(1, arguments.epochs + 1):
        for batch in np.array_split(random.permutation(len(images)), 44):
            step(weights, images[batch], labels[batch], arguments.rate)
        print(f"epoch {epoch:2}: {accuracy(weights, test_images, test_labels):.1%} of {len(test_labels)} unseen digits right")
    np.savez(os.path.join(here, "..", "modeldir", "weights.npz"), **weights)


main()
