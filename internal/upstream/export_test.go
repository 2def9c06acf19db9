package upstream

// Dialer is dialer, for tests: whoever makes a Group cannot say how it dials.
var Dialer = dialer
