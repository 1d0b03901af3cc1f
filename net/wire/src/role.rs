//! Who a peer is allowed to be, and what it may therefore say.
//!
//! Owns [`Role`]. A certificate grants a role (craton-session); a body is refused before it reaches
//! the node if its sender's role may not say it ([`Body::allowed_from`]).

use crate::body::{Answer, Body, Question, RunEvent};
use alloc::sync::Arc;
use core::fmt;

/// What a certificate lets its holder be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// A machine of the cluster.
    Node,
    /// A person or tool that may do everything an operator does.
    Operator,
    /// A tool that may change only apps whose name begins with the prefix.
    Deploy {
        /// The prefix.
        prefix: Arc<str>,
    },
    /// A tool that may look and change nothing.
    ReadOnly,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Node => f.write_str("node"),
            Role::Operator => f.write_str("operator"),
            Role::Deploy { prefix } => write!(f, "deploy {prefix}"),
            Role::ReadOnly => f.write_str("read-only"),
        }
    }
}

impl Question {
    /// Whether the question changes nothing.
    pub fn only_looks(&self) -> bool {
        match self {
            Question::Nodes | Question::Processes | Question::Logs { .. } => true,
            Question::Kill { .. } | Question::Run { .. } => false,
        }
    }
}

impl Body {
    /// Whether a peer with this role may say this.
    ///
    /// Nodes speak for the cluster and answer; operators ask, feed their runs and hand over
    /// bundles. Deploying is not there yet, so a deploy certificate only looks for now.
    pub fn allowed_from(&self, role: &Role) -> bool {
        match role {
            Role::Node => self.allowed_from_node(),
            Role::Operator => self.allowed_from_operator(),
            Role::Deploy { .. } | Role::ReadOnly => {
                matches!(self, Body::Ask { question, .. } if question.only_looks())
            }
        }
    }

    fn allowed_from_node(&self) -> bool {
        match self {
            Body::Ask { .. } => false,
            Body::Run { event, .. } => matches!(
                event,
                RunEvent::Output { .. } | RunEvent::InputWanted { .. } | RunEvent::Ended { .. }
            ),
            _ => true,
        }
    }

    fn allowed_from_operator(&self) -> bool {
        match self {
            Body::Ask { .. } | Body::ProgramPart { .. } | Body::ProgramMissing { .. } => true,
            Body::Run { event, .. } => {
                matches!(event, RunEvent::OutputTaken | RunEvent::Input { .. })
            }
            _ => false,
        }
    }
}

impl Answer {
    /// Whether this answer ends its question: nothing more is said about it.
    pub fn is_last(&self) -> bool {
        !matches!(self, Answer::ProgramWanted | Answer::Started(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{Payload, Pid, ProgramId, RequestId};

    fn ask(question: Question) -> Body {
        Body::Ask { request: RequestId::new(1), question }
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let deploy = Role::Deploy { prefix: "shop".into() };
        for role in [Role::ReadOnly, deploy] {
            assert!(ask(Question::Nodes).allowed_from(&role));
            assert!(ask(Question::Logs { from: 0 }).allowed_from(&role));
            assert!(!ask(Question::Kill { pid: Pid::default() }).allowed_from(&role));
            assert!(!Body::ProgramMissing { program: ProgramId([0; 32]) }.allowed_from(&role));
        }
    }

    #[test]
    fn an_operator_is_no_node_and_a_node_no_operator() {
        let heard = Body::SpawnHeard { child: Pid::default() };
        assert!(heard.allowed_from(&Role::Node));
        assert!(!heard.allowed_from(&Role::Operator));
        assert!(!ask(Question::Nodes).allowed_from(&Role::Node));
        assert!(ask(Question::Kill { pid: Pid::default() }).allowed_from(&Role::Operator));
        let run = |event| Body::Run { request: RequestId::new(1), event };
        let input = run(RunEvent::Input { bytes: Payload(alloc::vec![1]) });
        assert!(input.allowed_from(&Role::Operator) && !input.allowed_from(&Role::Node));
        let wanted = run(RunEvent::InputWanted { bytes_max: 1 });
        assert!(!wanted.allowed_from(&Role::Operator) && wanted.allowed_from(&Role::Node));
    }
}
