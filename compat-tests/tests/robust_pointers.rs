//! Bad pointers: each case of `pointers.c` in a world of its own, which must be empty afterwards.

#[macro_use]
mod robust_common;

cases! { "pointers":
    without_the_device = "without-the-device";
    with_the_device = "with-the-device";
}
