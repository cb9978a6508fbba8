//! Every op on CPU cores.
