//! The tree of a [`TOrdMap`](super::TOrdMap).
//!
//! A B⁺-tree (Bayer and McCreight, 1972; Comer, 1979) with a cell for each node. A look does not
//! remember the inner nodes on its way, only the leaf: the key's *cover*, the one leaf where the
//! key is or would be. This is enough because of one rule: **whatever takes a part of its range
//! from a node writes the node**, also a node that is given up. So a key's cover cannot change
//! without a conflict for everybody who remembered the old one, while a leaf that is split is none
//! of its neighbours' business. Whoever changes an inner node remembers it as read.

use crate::{
    cell::{
        TVar,
        block::Cells,
        kept::{self, Kept},
        labels::Label,
        node::CellOf,
    },
    collections::TCounter,
    transaction::{Read, Transaction, choice::Savepoint, view::sealed::Sealed},
};
use std::{borrow::Borrow, panic::Location, sync::Arc};

pub(super) type Place = &'static Location<'static>;

/// The most keys of a leaf.
pub(super) const LEAF: usize = 16;
/// The most children of an inner node.
const INNER: usize = 32;

/// What all handles to a map share.
pub(super) struct Map<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    /// Stays the same cell, a leaf or an inner node.
    pub(super) root: TVar<Node<K, V>>,
    pub(super) len: TCounter,
    pub(super) label: Label,
}

pub(super) enum Node<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    /// Sorted. Empty only if it is the root, or given up.
    Leaf(Vec<(K, V)>),
    Inner(Inner<K, V>),
}

pub(super) struct Inner<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    /// From where on each child but the first one covers.
    pub(super) separators: Vec<K>,
    /// Two at least.
    pub(super) children: Vec<Child<K, V>>,
}

/// A block of one cell, owned by all versions of inner nodes that name it.
pub(super) struct Child<K: Send + Sync + 'static, V: Send + Sync + 'static>(Arc<Cells<Node<K, V>>>);

/// The inner nodes on the way to a leaf, each with the number of the child that follows.
pub(super) type Path<'a, K, V> = Vec<(CellOf<'a, Node<K, V>>, usize)>;

/// A leaf: its cell and its entries.
pub(super) type Cover<'a, 'v, K, V> = (CellOf<'a, Node<K, V>>, &'v [(K, V)]);

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Clone for Child<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Child<K, V> {
    fn new(label: Label, node: Node<K, V>, born: Option<u64>) -> Self {
        Self(Arc::new(Cells::sharing(label, vec![Some(node)], Node::GONE, born)))
    }

    #[inline]
    pub(super) fn cell(&self) -> CellOf<'_, Node<K, V>> {
        self.0.at(0)
    }
}

impl<K: Clone + Send + Sync + 'static, V: Send + Sync + 'static> Clone for Inner<K, V> {
    fn clone(&self) -> Self {
        Self { separators: self.separators.clone(), children: self.children.clone() }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Kept for Node<K, V> {
    fn is_plain(&self) -> bool {
        !std::mem::needs_drop::<(K, V)>() && matches!(self, Self::Leaf(_))
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Leaf(entries) => kept::list(entries, kept::pair),
            Self::Inner(_) => None,
        }
    }
}

impl<K: Clone + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(entries) => Self::Leaf(entries.clone()),
            Self::Inner(inner) => Self::Inner(inner.clone()),
        }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Node<K, V> {
    /// What is written to a node whose range another one took over.
    pub(super) const GONE: Self = Self::Leaf(Vec::new());

    /// The node, which is known to be a leaf: no cell but the root ever changes its kind while it
    /// covers something.
    pub(super) fn leaf(&self) -> &[(K, V)] {
        match self {
            Self::Leaf(entries) => entries,
            Self::Inner(_) => unreachable!("a leaf in this view"),
        }
    }

    fn inner(&self) -> &Inner<K, V> {
        match self {
            Self::Inner(inner) => inner,
            Self::Leaf(_) => unreachable!("an inner node in this view"),
        }
    }

    /// How many keys or children it has, the most that it may have, and the fewest.
    fn fill(&self) -> (usize, usize, usize) {
        match self {
            Self::Leaf(entries) => (entries.len(), LEAF, 1),
            Self::Inner(inner) => (inner.children.len(), INNER, 2),
        }
    }

    /// A tree over sorted entries, none of whose nodes is full.
    pub(super) fn of(label: Label, entries: Vec<(K, V)>) -> Self
    where
        K: Clone,
    {
        // What each node covers from: that of the first one is not looked at.
        let mut level: Vec<(Option<K>, Self)> = portions(entries, LEAF)
            .map(|entries| (entries.first().map(|(key, _)| key.clone()), Self::Leaf(entries)))
            .collect();
        while level.len() > 1 {
            let nodes = portions(level, INNER).map(|nodes| {
                let (mut froms, children): (Vec<_>, Vec<_>) = nodes
                    .into_iter()
                    .map(|(from, node)| (from, Child::new(label, node, None)))
                    .unzip();
                let from = froms.remove(0);
                let separators = froms.into_iter().flatten().collect();
                (from, Self::Inner(Inner { separators, children }))
            });
            level = nodes.collect();
        }
        level.pop().map_or(Self::GONE, |(_, root)| root)
    }
}

/// Items in portions that are about three quarters of the most, and as even as can be.
fn portions<T>(items: Vec<T>, most: usize) -> impl Iterator<Item = Vec<T>> {
    let (len, count) = (items.len(), items.len().div_ceil(most - most / 4));
    let mut items = items.into_iter();
    (0..count).map(move |at| {
        let size = len * (at + 1) / count - len * at / count;
        items.by_ref().take(size).collect()
    })
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Inner<K, V> {
    /// Which child covers a key.
    #[inline]
    pub(super) fn child_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.separators.partition_point(|from| from.borrow() <= key)
    }

    /// Takes the upper children away, from `at` on, with the separator before them.
    fn split_off(&mut self, at: usize) -> (K, Self) {
        let children = self.children.split_off(at);
        let separators = self.separators.split_off(at);
        let separator = self.separators.pop().expect("one between two children");
        (separator, Self { separators, children })
    }
}

/// Where a key is in a leaf, or would be.
#[inline]
pub(super) fn search<K: Borrow<Q>, V, Q: Ord + ?Sized>(
    leaf: &[(K, V)],
    key: &Q,
) -> Result<usize, usize> {
    leaf.binary_search_by(|(own, _)| own.borrow().cmp(key))
}

impl<K: Ord + Send + Sync + 'static, V: Send + Sync + 'static> Map<K, V> {
    /// The cover of a key.
    #[inline]
    pub(super) fn cover<'a, 'v: 'a, Q: Ord + ?Sized>(
        &'a self,
        view: &'v impl Read,
        key: &Q,
        place: Place,
    ) -> Cover<'a, 'v, K, V>
    where
        K: Borrow<Q>,
    {
        let mut cell = self.root.kept();
        // Not remembered: see the module.
        while let Node::Inner(inner) = view.peek(cell) {
            cell = inner.children[inner.child_of(key)].cell();
        }
        (cell, view.read(cell, place).leaf())
    }

    /// The way to the cover of a key.
    pub(super) fn path<'a, 'v: 'a, Q: Ord + ?Sized>(
        &'a self,
        view: &'v impl Read,
        key: &Q,
    ) -> Path<'a, K, V>
    where
        K: Borrow<Q>,
    {
        let (mut path, mut cell) = (Vec::new(), self.root.kept());
        while let Node::Inner(inner) = view.peek(cell) {
            let at = inner.child_of(key);
            path.push((cell, at));
            cell = inner.children[at].cell();
        }
        path
    }

    /// A node that this transaction makes.
    fn child(&self, node: Node<K, V>) -> Child<K, V> {
        // Come upon only through what this transaction writes.
        Child::new(self.label, node, Some(Transaction::newest_version()))
    }

    /// Writes a node, and another one that was split off above it, under the parents in `path`.
    #[track_caller]
    pub(super) fn grow<'a>(
        &self,
        tx: &Transaction,
        mut path: Path<'a, K, V>,
        mut cell: CellOf<'a, Node<K, V>>,
        mut node: Node<K, V>,
        mut above: (K, Node<K, V>),
        place: Place,
    ) where
        K: Clone,
    {
        // All or nothing, also if the clone of a key panics.
        let savepoint = Savepoint::begin(tx);
        while let Some((parent, at)) = path.pop() {
            tx.write(cell, node);
            let mut inner = tx.read(parent, place).inner().clone();
            inner.separators.insert(at, above.0);
            inner.children.insert(at + 1, self.child(above.1));
            if inner.children.len() <= INNER {
                tx.write(parent, Node::Inner(inner));
                return savepoint.keep();
            }
            // Keys that come in their order leave full nodes behind.
            let cut = if at + 2 > INNER { INNER - 1 } else { INNER.div_ceil(2) };
            let (separator, upper) = inner.split_off(cut);
            (cell, node, above) = (parent, Node::Inner(inner), (separator, Node::Inner(upper)));
        }
        let (separator, upper) = above;
        let children = vec![self.child(node), self.child(upper)];
        tx.write(cell, Node::Inner(Inner { separators: vec![separator], children }));
        savepoint.keep();
    }

    /// Writes a node that lost something, and joins it with a neighbour if both are small; so the
    /// parents in `path`.
    #[track_caller]
    pub(super) fn shrink<'a>(
        &self,
        tx: &Transaction,
        mut path: Path<'a, K, V>,
        mut cell: CellOf<'a, Node<K, V>>,
        mut node: Node<K, V>,
        place: Place,
    ) where
        K: Clone,
        V: Clone,
    {
        // As in `grow`.
        let savepoint = Savepoint::begin(tx);
        while let Some((parent, at)) = path.pop() {
            let (len, most, fewest) = node.fill();
            let inner = tx.peek(parent).inner();
            let left = at.min(inner.children.len() - 2);
            let other = inner.children[if at == left { left + 1 } else { left }].cell();
            let both = len + tx.peek(other).fill().0;
            let fit = both <= most - most / 4;
            if len >= fewest && (len >= most / 4 || !fit) {
                tx.write(cell, node);
                return savepoint.keep();
            }
            let mut inner = tx.read(parent, place).inner().clone();
            let other_node = tx.read(other, place).clone();
            let (lower, upper) = if at == left { (cell, other) } else { (other, cell) };
            let (low, high) = if at == left { (node, other_node) } else { (other_node, node) };
            let joined = join(low, inner.separators[left].clone(), high);
            if fit {
                tx.write(lower, joined);
                tx.write(upper, Node::GONE);
                inner.separators.remove(left);
                inner.children.remove(left + 1);
            } else {
                let (low, separator, high) = halve(joined);
                tx.write(lower, low);
                tx.write(upper, high);
                inner.separators[left] = separator;
            }
            (cell, node) = (parent, Node::Inner(inner));
        }
        // The root: it takes the place of an only child.
        if let Node::Inner(inner) = &node
            && let [child] = &inner.children[..]
        {
            let only = tx.read(child.cell(), place).clone();
            tx.write(child.cell(), Node::GONE);
            node = only;
        }
        tx.write(cell, node);
        savepoint.keep();
    }

    /// Empties the leaves below a node: the covers of all keys.
    #[track_caller]
    pub(super) fn empty(tx: &Transaction, cell: CellOf<'_, Node<K, V>>, place: Place) {
        // Remembered, also that it is a leaf: a root that has become an inner node by then would
        // leave its children behind, with keys in them.
        if let Node::Inner(inner) = tx.read(cell, place) {
            for child in &inner.children {
                Self::empty(tx, child.cell(), place);
            }
        }
        tx.write(cell, Node::GONE);
    }
}

/// Two neighbours as one.
fn join<K: Send + Sync, V: Send + Sync>(
    low: Node<K, V>,
    separator: K,
    high: Node<K, V>,
) -> Node<K, V> {
    match (low, high) {
        (Node::Leaf(mut low), Node::Leaf(high)) => {
            low.extend(high);
            Node::Leaf(low)
        }
        (Node::Inner(mut low), Node::Inner(high)) => {
            low.separators.push(separator);
            low.separators.extend(high.separators);
            low.children.extend(high.children);
            Node::Inner(low)
        }
        _ => unreachable!("neighbours are on one level"),
    }
}

/// One node as two neighbours.
fn halve<K: Clone + Send + Sync, V: Send + Sync>(node: Node<K, V>) -> (Node<K, V>, K, Node<K, V>) {
    match node {
        Node::Leaf(mut low) => {
            let high = low.split_off(low.len() / 2);
            let separator = high[0].0.clone();
            (Node::Leaf(low), separator, Node::Leaf(high))
        }
        Node::Inner(mut low) => {
            let (separator, high) = low.split_off(low.children.len() / 2);
            (Node::Inner(low), separator, Node::Inner(high))
        }
    }
}
