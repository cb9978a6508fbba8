//! Models: Hugging Face directories in and out, parameters, forward, backward.
