//! Captures: streams whose work becomes the nodes of a graph.

use super::work::Work;
use crate::driver::{CaptureError, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One piece of captured work.
pub(super) struct Node {
    pub work: Work,
    pub label: Arc<str>,
    /// Nodes that run before it.
    pub after: Vec<usize>,
    /// Nodes of one chain are ordered among themselves: those of one captured stream.
    pub chain: usize,
}

/// Captured work, whole.
pub(super) struct Nodes {
    pub nodes: Vec<Node>,
    pub chains: usize,
}

/// A stream that takes part, by the last nodes that its next node depends on.
struct Member {
    chain: usize,
    last: BTreeSet<usize>,
}

/// A capture under way.
pub(super) struct Capture {
    origin: Stream,
    nodes: Vec<Node>,
    members: BTreeMap<Stream, Member>,
    lost: Option<&'static str>,
}

impl Capture {
    pub fn new(origin: Stream) -> Capture {
        let member = Member { chain: 0, last: BTreeSet::new() };
        Capture { origin, nodes: Vec::new(), members: BTreeMap::from([(origin, member)]), lost: None }
    }

    pub fn origin(&self) -> Stream {
        self.origin
    }

    pub fn streams(&self) -> impl Iterator<Item = Stream> {
        self.members.keys().copied()
    }

    /// A forbidden call has ended it; what follows on its streams fails.
    pub fn lose(&mut self, call: &'static str) {
        self.lost.get_or_insert(call);
    }

    pub fn check(&self) -> Result<(), CaptureError> {
        match self.lost {
            Some(call) => Err(CaptureError::Invalidated { why: format!("by {call}") }),
            None => Ok(()),
        }
    }

    /// Work of a member becomes a node.
    pub fn add(&mut self, stream: Stream, work: Work, label: Arc<str>) -> Result<(), CaptureError> {
        self.check()?;
        let member = self.members.get_mut(&stream).ok_or(CaptureError::NotCapturing)?;
        let after = std::mem::replace(&mut member.last, BTreeSet::from([self.nodes.len()]));
        self.nodes.push(Node { work, label, after: after.into_iter().collect(), chain: member.chain });
        Ok(())
    }

    /// What an event recorded now on a member stands for.
    pub fn record(&self, stream: Stream) -> Result<BTreeSet<usize>, CaptureError> {
        self.check()?;
        self.members.get(&stream).map(|member| member.last.clone()).ok_or(CaptureError::NotCapturing)
    }

    /// A stream waits for an event of this capture, and joins it if it is not a member.
    pub fn wait(&mut self, stream: Stream, event: &BTreeSet<usize>) -> Result<(), CaptureError> {
        self.check()?;
        let chain = self.members.len();
        let member = self.members.entry(stream).or_insert(Member { chain, last: BTreeSet::new() });
        member.last.extend(event);
        Ok(())
    }

    /// The graph; every member's work must lead to the origin. `name` of a stream is for the message.
    pub fn end(self, name: impl Fn(Stream) -> String) -> Result<Nodes, CaptureError> {
        self.check()?;
        let mut joined = BTreeSet::new();
        let mut stack: Vec<usize> = self.members[&self.origin].last.iter().copied().collect();
        while let Some(node) = stack.pop() {
            if joined.insert(node) {
                stack.extend(&self.nodes[node].after);
            }
        }
        match self.members.iter().find(|(_, member)| !member.last.is_subset(&joined)) {
            Some((&stream, _)) => Err(CaptureError::Unjoined { stream: name(stream) }),
            None => Ok(Nodes { nodes: self.nodes, chains: self.members.len() }),
        }
    }
}
