//! Control flow: where blocks begin, and an order of blocks in which diverged lanes meet again.
//!
//! The order is a topological one in which each loop is contiguous: strongly connected components of the flow graph in
//! topological order, and the same again inside each with the edges back to its entry taken away. Lanes that wait at a
//! later place are met there by all that run towards it, at the immediate post-dominator or before ("thread
//! frontiers", Diamos et al., MICRO 2011). It needs no structure: irreducible flow only meets later.

/// Successors of each instruction; `len` instructions, an index equal to `len` leaves the kernel.
pub(in crate::sim) struct Flow {
    /// Whether lanes may arrive at an instruction from more than the one before it.
    pub leaders: Vec<bool>,
    /// Rank of each instruction.
    pub ranks: Vec<u32>,
}

/// One instruction's way on.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Next {
    /// Whether the following instruction may be next.
    pub falls: bool,
    /// Branch targets.
    pub targets: Vec<usize>,
}

/// Finds blocks and ranks.
pub(in crate::sim) fn analyse(next: &[Next]) -> Flow {
    let len = next.len();
    let mut leaders = vec![false; len];
    if let Some(first) = leaders.first_mut() {
        *first = true;
    }
    for (index, way) in next.iter().enumerate() {
        for &target in way.targets.iter().filter(|&&target| target < len) {
            leaders[target] = true;
        }
        if (!way.falls || !way.targets.is_empty()) && index + 1 < len {
            leaders[index + 1] = true;
        }
    }
    let starts: Vec<usize> = (0..len).filter(|&index| leaders[index]).collect();
    let mut block_of = vec![0; len];
    for (block, &start) in starts.iter().enumerate() {
        let end = starts.get(block + 1).copied().unwrap_or(len);
        block_of[start..end].fill(block);
    }
    let edges: Vec<Vec<usize>> = (0..starts.len())
        .map(|block| {
            let last = starts.get(block + 1).copied().unwrap_or(len) - 1;
            let fall = next[last].falls.then_some(last + 1);
            let to = next[last].targets.iter().copied().chain(fall).filter(|&to| to < len);
            to.map(|to| block_of[to]).collect()
        })
        .collect();
    let mut ranks = vec![0; len];
    let mut rank = 0;
    for block in order(&edges) {
        let end = starts.get(block + 1).copied().unwrap_or(len);
        for slot in &mut ranks[starts[block]..end] {
            *slot = rank;
            rank += 1;
        }
    }
    Flow { leaders, ranks }
}

/// All nodes, each loop contiguous, otherwise topological. Node 0 is the entry.
fn order(edges: &[Vec<usize>]) -> Vec<usize> {
    enum Work {
        Node(usize),
        /// Nodes still to be ordered and, for a loop, its entry, whose incoming edges are cut.
        Set(Vec<usize>, Option<usize>),
    }
    let mut result = Vec::with_capacity(edges.len());
    let mut work = vec![Work::Set((0..edges.len()).collect(), None)];
    let mut inside = vec![usize::MAX; edges.len()];
    let mut turn = 0;
    while let Some(item) = work.pop() {
        let (nodes, entry) = match item {
            Work::Node(node) => {
                result.push(node);
                continue;
            }
            Work::Set(nodes, entry) => (nodes, entry),
        };
        turn += 1;
        for &node in &nodes {
            inside[node] = turn;
        }
        let within = |to: &usize| inside[*to] == turn && Some(*to) != entry;
        // Reverse topological order is the order in which a stack wants them.
        for component in components(&nodes, |node| edges[node].iter().copied().filter(within)) {
            if let [node] = *component.as_slice() {
                work.push(Work::Node(node));
                continue;
            }
            // A node reached from outside the component: the lowest one, for determinism.
            let member = |node: &usize| component.binary_search(node).is_ok();
            let from_outside = |node: &usize| {
                *node == 0 || (0..edges.len()).any(|from| !member(&from) && edges[from].contains(node))
            };
            let entry = component.iter().copied().find(from_outside).or(component.first().copied());
            work.push(Work::Set(component, entry));
        }
    }
    result
}

/// Strongly connected components in reverse topological order, each sorted. Tarjan, 1972, without recursion.
fn components<I: Iterator<Item = usize>>(
    nodes: &[usize],
    successors: impl Fn(usize) -> I,
) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy)]
    struct Mark {
        index: usize,
        low: usize,
        stacked: bool,
    }
    let most = nodes.iter().copied().max().map_or(0, |node| node + 1);
    let mut marks: Vec<Option<Mark>> = vec![None; most];
    let mut found = Vec::new();
    let mut stack = Vec::new();
    let mut count = 0;
    for &root in nodes {
        if marks[root].is_some() {
            continue;
        }
        let mut path = vec![(root, successors(root))];
        marks[root] = Some(Mark { index: count, low: count, stacked: true });
        count += 1;
        stack.push(root);
        while let Some((node, ways)) = path.last_mut() {
            let node = *node;
            if let Some(to) = ways.next() {
                match marks[to] {
                    None => {
                        marks[to] = Some(Mark { index: count, low: count, stacked: true });
                        count += 1;
                        stack.push(to);
                        path.push((to, successors(to)));
                    }
                    Some(Mark { index, stacked: true, .. }) => {
                        if let Some(mark) = &mut marks[node] {
                            mark.low = mark.low.min(index);
                        }
                    }
                    Some(_) => {}
                }
                continue;
            }
            path.pop();
            let Some(mark) = marks[node] else { continue };
            if let Some((parent, _)) = path.last()
                && let Some(above) = &mut marks[*parent]
            {
                above.low = above.low.min(mark.low);
            }
            if mark.low == mark.index {
                let mut component = Vec::new();
                while let Some(member) = stack.pop() {
                    if let Some(mark) = &mut marks[member] {
                        mark.stacked = false;
                    }
                    component.push(member);
                    if member == node {
                        break;
                    }
                }
                component.sort_unstable();
                found.push(component);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(order: &[usize], node: usize) -> usize {
        order.iter().position(|&n| n == node).unwrap()
    }

    #[test]
    fn what_follows_a_loop_comes_after_its_whole_body() {
        // 0 → 1 (head) → 2 → 3 → 1, 1 → 4 (after); the exit is the head's first successor.
        let edges = vec![vec![1], vec![4, 2], vec![3], vec![1], vec![]];
        assert_eq!(order(&edges), [0, 1, 2, 3, 4]);
        // A nested loop 2 ↔ 3 with a break from 3 to 5 past the outer loop's rest.
        let edges = vec![vec![1], vec![5, 2], vec![4, 3], vec![2, 5], vec![1], vec![]];
        let order = order(&edges);
        assert_eq!(position(&order, 5), 5);
        assert!(position(&order, 3) < position(&order, 4));
    }

    #[test]
    fn joins_come_after_both_sides_whatever_the_layout() {
        // 0 → 3 or 2; both → 1, laid out first.
        let edges = vec![vec![3, 2], vec![], vec![1], vec![1]];
        assert_eq!(position(&order(&edges), 1), 3);
    }

    proptest! {
        #[test]
        fn every_node_has_one_place_in_any_graph(
            edges in (1usize..12).prop_flat_map(|n| prop::collection::vec(prop::collection::vec(0..n, 0..3), n)),
        ) {
            let mut order = order(&edges);
            order.sort_unstable();
            prop_assert_eq!(order, (0..edges.len()).collect::<Vec<_>>());
        }

        #[test]
        fn acyclic_graphs_are_ordered_topologically(
            edges in (1usize..12).prop_flat_map(|n| prop::collection::vec(prop::collection::vec(0..n, 0..3), n)),
        ) {
            let forward: Vec<Vec<usize>> = edges.iter().enumerate()
                .map(|(from, to)| to.iter().copied().filter(|&to| to > from).collect()).collect();
            let order = order(&forward);
            for (from, to) in forward.iter().enumerate() {
                for &to in to {
                    prop_assert!(position(&order, from) < position(&order, to));
                }
            }
        }
    }
}
