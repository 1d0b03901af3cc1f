//! TCP, UDP, DHCP and DNS over smoltcp.

#![no_std]
#![forbid(unsafe_code)]
