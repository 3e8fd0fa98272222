"""What a model is still worth when its inputs get worse: noise curves, and each input gone."""
