//! Races: which two accesses of memory have nothing between them that orders them.
