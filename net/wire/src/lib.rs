//! Frames between nodes and with the operator's tool.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod body;

pub use body::{
    Answer, Body, NodeInfo, OutputStream, ProcessInfo, Question, RunEvent,
};
