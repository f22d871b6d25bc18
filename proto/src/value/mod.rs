//! Values: what a shared object holds and a call carries.
