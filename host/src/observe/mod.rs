//! What the operator sees: every event is named once, here.
