//! Versions: values in boxes without their type, linked or not.
//!
//! One of the six files with `unsafe`. A [`Version`] owns its box until it is linked; then the
//! chain does, see [`super::node`]. [`Lent`] and [`Seen`] borrow one from whoever keeps it.
#![expect(unsafe_code, reason = "type-erased value boxes: one of the six files of the cell module")]

use super::{
    kept::{Kept, text_of},
    labels::Origin,
    magazines::{Place, Size},
};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, UnsafeCell};
use std::{
    alloc::Layout,
    any::{TypeId, type_name},
    marker::PhantomData,
    mem::{ManuallyDrop, MaybeUninit, needs_drop, offset_of},
    ptr::{self, NonNull},
    slice,
};

/// What every version starts with, whatever its type.
#[repr(C)]
pub(super) struct VersionHeader {
    pub(super) next: AtomicPtr<VersionHeader>,
    /// The number; until the box is linked, 0 or what [`Version::fold`] says.
    pub(super) version: u64,
    glue: &'static Glue,
    pub(super) origin: Origin,
    #[cfg(loom)]
    pub(super) alive: UnsafeCell<bool>,
}

impl VersionHeader {
    /// The size of the box in bytes, without what the value owns elsewhere.
    #[inline]
    pub(super) fn size(&self) -> usize {
        let tail = self.glue.tail.map_or(0, |tail| {
            // SAFETY: the glue is that of this box, which is alive.
            unsafe { tail(NonNull::from(self)) }
        });
        self.glue.size + tail
    }

    /// The type of the value.
    pub(super) fn type_name(&self) -> &'static str {
        (self.glue.type_name)()
    }
}

#[repr(C)]
struct VersionNode<T> {
    header: VersionHeader,
    value: UnsafeCell<T>,
}

#[inline(always)]
fn size_of_node<T>() -> Size {
    const { Size::of(Layout::new::<VersionNode<T>>()) }
}

/// The type of a version, erased.
struct Glue {
    /// Drops the value and frees the node.
    dispose: unsafe fn(NonNull<VersionHeader>),
    needs_drop: bool,
    /// Of the box, in bytes, without its tail.
    size: usize,
    /// How many bytes the tail has, where there can be one.
    tail: Option<unsafe fn(NonNull<VersionHeader>) -> usize>,
    /// Whether there is no value yet.
    reserved: bool,
    type_id: fn() -> TypeId,
    type_name: fn() -> &'static str,
    /// What a collection keeps, as text.
    text: Option<fn(Seen<'_>) -> Option<String>>,
    /// Drops the value and keeps the node.
    #[cfg(loom)]
    poison: unsafe fn(NonNull<VersionHeader>),
}

/// The glue of any box with such a value.
struct GlueOf<T>(PhantomData<T>);
/// The same of what collections keep, and of that whose value is plain, see [`Kept`].
struct KeptOf<T>(PhantomData<T>);

/// A value with entries behind it in the same box: a reader waits for a line of memory less than
/// with a vector. With entries it stands nowhere else, see [`Boxed::tailed`].
#[repr(C)]
pub(crate) struct Tailed<H, E> {
    head: H,
    len: usize,
    /// Where they begin.
    tail: [E; 0],
}

impl<H, E> Tailed<H, E> {
    /// A value without entries.
    pub(crate) const fn empty(head: H) -> Self {
        Self { head, len: 0, tail: [] }
    }

    #[inline(always)]
    pub(crate) fn head(&self) -> &H {
        &self.head
    }

    #[inline(always)]
    fn first(&self) -> *mut E {
        // The box was exposed as a whole; `self` is but its beginning.
        ptr::with_exposed_provenance_mut(self.tail.as_ptr().addr())
    }

    #[inline(always)]
    pub(crate) fn entries(&self) -> &[E] {
        // SAFETY: `Boxed::tailed` put so many there, which nobody writes while this is lent; and
        // this has a length only where it was put together with them.
        unsafe { slice::from_raw_parts(self.first(), self.len) }
    }
}

impl<H, E> Drop for Tailed<H, E> {
    fn drop(&mut self) {
        if needs_drop::<E>() {
            let entries = ptr::slice_from_raw_parts_mut(self.first(), self.len);
            // SAFETY: as in `entries`; dropped once, and not looked at again.
            unsafe { ptr::drop_in_place(entries) };
        }
    }
}

/// The same of boxes with a tail.
struct TailedOf<H, E>(PhantomData<(H, E)>);
/// The glue of a box that is the first version of several cells.
struct SharedOf<T>(PhantomData<T>);

/// A value that lies where it would alone, and how many cells have it as their first.
#[repr(C)]
struct Shared<T> {
    value: T,
    shares: AtomicUsize,
}

/// The glue of a box whose value a fold has still to make.
struct ReservedOf<T>(PhantomData<T>);

impl<T: Send + Sync + 'static> GlueOf<T> {
    const GLUE: Glue = Glue {
        dispose: dispose::<T>,
        needs_drop: needs_drop::<T>(),
        size: size_of::<VersionNode<T>>(),
        tail: None,
        reserved: false,
        type_id: TypeId::of::<T>,
        type_name: type_name::<T>,
        text: None,
        #[cfg(loom)]
        poison: poison::<T>,
    };
}

impl<T: Kept> KeptOf<T> {
    const GLUE: Glue = Glue { text: Some(text_of::<T>), ..GlueOf::<T>::GLUE };
    const PLAIN: Glue = Glue { needs_drop: false, ..Self::GLUE };
}

impl<H: Kept, E: Send + Sync + 'static> TailedOf<H, E> {
    const GLUE: Glue = Glue {
        dispose: dispose_tailed::<H, E>,
        tail: Some(tail_of::<H, E>),
        ..KeptOf::<Tailed<H, E>>::GLUE
    };
    const PLAIN: Glue = Glue { needs_drop: false, ..Self::GLUE };

    /// Where the tail begins in a box: where the node ends, with which it is written last.
    const AT: usize = {
        let at = offset_of!(VersionNode<Tailed<H, E>>, value) + offset_of!(Tailed<H, E>, tail);
        assert!(cfg!(loom) || at == size_of::<VersionNode<Tailed<H, E>>>());
        at
    };

    /// Of a box with so many entries.
    #[inline]
    fn size(len: usize) -> Size {
        let node = Layout::new::<VersionNode<Tailed<H, E>>>();
        let all = len.checked_mul(size_of::<E>()).and_then(|tail| tail.checked_add(node.size()));
        let layout = all.and_then(|all| Layout::from_size_align(all, node.align()).ok());
        Size::of(layout.expect("entries that somebody has, far from overflow"))
    }
}

impl<T: Send + Sync + 'static> SharedOf<T> {
    const GLUE: Glue = Glue {
        dispose: dispose_share::<T>,
        // Not by one share; the last one sees to it.
        needs_drop: false,
        // Counted with the block of cells that it was made for.
        size: 0,
        ..GlueOf::<T>::GLUE
    };
}

impl<T: Send + Sync + 'static> ReservedOf<T> {
    const GLUE: Glue = Glue {
        dispose: dispose::<MaybeUninit<T>>,
        needs_drop: false,
        size: size_of::<VersionNode<T>>(),
        tail: None,
        reserved: true,
        type_id: TypeId::of::<T>,
        type_name: type_name::<T>,
        text: None,
        #[cfg(loom)]
        poison: poison::<MaybeUninit<T>>,
    };
}

/// # Safety
/// As [`dispose`].
#[cfg(loom)]
unsafe fn poison<T>(node: NonNull<VersionHeader>) {
    // SAFETY: the caller's; the models never free a node.
    let node = unsafe { node.cast::<VersionNode<T>>().as_ref() };
    // SAFETY: loom checks that nobody else looks, in any order that it can find.
    node.header.alive.with_mut(|alive| unsafe { *alive = false });
    // SAFETY: dropped once; a later look is caught by `alive`.
    node.value.with_mut(|value| unsafe { ptr::drop_in_place(value) });
}

/// # Safety
/// `node` was made by `Version::boxed::<T>` and is not used again.
unsafe fn dispose<T>(node: NonNull<VersionHeader>) {
    // Given back at the end, even if the destructor of the value panics.
    // SAFETY: the caller's.
    let _place = unsafe { Place::owned(node.cast(), size_of_node::<T>()) };
    // SAFETY: the caller's; the header is the first field of the node.
    unsafe { ptr::drop_in_place(node.cast::<VersionNode<T>>().as_ptr()) };
}

/// # Safety
/// `node` was made by `Boxed::tailed::<H, E>` and is not used again.
unsafe fn dispose_tailed<H: Kept, E: Send + Sync + 'static>(node: NonNull<VersionHeader>) {
    // SAFETY: the caller's.
    let value = unsafe { value_of::<Tailed<H, E>>(node.as_ptr()) };
    // As in `dispose`.
    // SAFETY: the caller's; entries are never added nor taken.
    let _place = unsafe { Place::owned(node.cast(), TailedOf::<H, E>::size(value.len)) };
    // SAFETY: the caller's; the header is the first field of the node.
    unsafe { ptr::drop_in_place(node.cast::<VersionNode<Tailed<H, E>>>().as_ptr()) };
}

/// The size of a tail in bytes.
///
/// # Safety
/// `node` was made by `Boxed::tailed::<H, E>`, and is alive.
unsafe fn tail_of<H: Kept, E: Send + Sync + 'static>(node: NonNull<VersionHeader>) -> usize {
    // Exposed as a whole; the caller may have borrowed no more than the header.
    let node = ptr::with_exposed_provenance_mut(node.addr().get());
    // SAFETY: the caller's.
    size_of_val(unsafe { value_of::<Tailed<H, E>>(node) }.entries())
}

/// Gives up a share; with the last one the version is dropped like any other.
///
/// # Safety
/// `node` was made by `Version::shared::<T>`, and this share of it is not used again.
unsafe fn dispose_share<T: Send + Sync + 'static>(mut node: NonNull<VersionHeader>) {
    let last = {
        // SAFETY: alive, since this share is counted still.
        let node = unsafe { node.cast::<VersionNode<Shared<T>>>().as_ref() };
        // SAFETY: shares are atomic; the value is not touched.
        let shares = node.value.with(|shared| unsafe { &(*shared).shares });
        // AcqRel: whatever looked at the value through other shares is over.
        shares.fetch_sub(1, Ordering::AcqRel) == 1
    };
    if last {
        // SAFETY: the last share: nobody else has the node.
        unsafe { node.as_mut() }.glue = &GlueOf::<Shared<T>>::GLUE;
        drop(Version(node));
    }
}

/// A version that is not linked, with its value: owned.
#[derive(Debug)]
pub(crate) struct Version(NonNull<VersionHeader>);

// SAFETY: the value is `Send + Sync + 'static` (see `new`) and the box has one owner.
unsafe impl Send for Version {}
// SAFETY: a shared `Version` gives out only `&T`, and `T: Sync`.
unsafe impl Sync for Version {}

impl Version {
    #[inline]
    pub(crate) fn new<T: Send + Sync + 'static>(value: T, origin: Origin) -> Self {
        Self::boxed(value, &GlueOf::<T>::GLUE, origin)
    }

    /// A first version for so many cells; none if there are none. As often as that it is linked,
    /// and each time dropped.
    pub(super) fn shared<T: Send + Sync + 'static>(value: T, shares: usize) -> Option<Self> {
        // Read as a `T` by whoever sees the version.
        const { assert!(align_of::<VersionHeader>() >= align_of::<AtomicUsize>()) };
        let shared = Shared { value, shares: AtomicUsize::new(shares) };
        (shares != 0).then(|| Self::boxed(shared, &SharedOf::<T>::GLUE, Origin::default()))
    }

    /// A box for a value that a fold makes at commit; until then it has none.
    pub(super) fn reserved<T: Send + Sync + 'static>(origin: Origin) -> Self {
        Self::boxed(MaybeUninit::<T>::uninit(), &ReservedOf::<T>::GLUE, origin)
    }

    #[inline]
    fn boxed<V>(value: V, glue: &'static Glue, origin: Origin) -> Self {
        let place = Place::new(size_of_node::<V>());
        // SAFETY: the place has this layout.
        unsafe { Self::placed(place, value, glue, origin) }
    }

    /// # Safety
    /// The place has the size and alignment of a `VersionNode<V>`, and what the glue expects behind
    /// that.
    #[inline]
    unsafe fn placed<V>(place: Place, value: V, glue: &'static Glue, origin: Origin) -> Self {
        let node = place.leak();
        let header = VersionHeader {
            next: AtomicPtr::new(ptr::null_mut()),
            version: 0,
            glue,
            origin,
            #[cfg(loom)]
            alive: UnsafeCell::new(true),
        };
        let value = UnsafeCell::new(value);
        // SAFETY: owned, and the caller's.
        unsafe { node.cast::<VersionNode<V>>().write(VersionNode { header, value }) };
        Self(node.cast())
    }

    /// Puts a value into a reserved box; gives it back if the box is not reserved for its type.
    pub(super) fn fill<T: Send + Sync + 'static>(&mut self, value: T) -> Result<(), T> {
        let glue = self.header().glue;
        if !glue.reserved || (glue.type_id)() != TypeId::of::<T>() {
            return Err(value);
        }
        // SAFETY: owned; reserved for a `T`, where a `MaybeUninit<T>` lies as a `T` would.
        let node = unsafe { self.0.cast::<VersionNode<MaybeUninit<T>>>().as_mut() };
        // SAFETY: `&mut self` makes this the only access; a reserved box is lent to nobody.
        node.value.with_mut(|place| unsafe { (*place).write(value) });
        node.header.glue = &GlueOf::<T>::GLUE;
        Ok(())
    }

    /// The value of a box that was lent to nobody, if it is of this type.
    pub(super) fn value_mut<T: 'static>(&mut self) -> Option<&mut T> {
        let glue = self.header().glue;
        if glue.reserved || (glue.type_id)() != TypeId::of::<T>() {
            return None;
        }
        // SAFETY: owned, and tested to be of this type.
        let node = unsafe { self.0.cast::<VersionNode<T>>().as_mut() };
        // SAFETY: `&mut self`, and whoever lends a box promises not to write it.
        Some(node.value.with_mut(|value| unsafe { &mut *value }))
    }

    /// The number of the fold that makes the value at commit. Until the box is linked, its number
    /// has no other use.
    #[inline]
    pub(super) fn fold(&self) -> Option<usize> {
        (self.header().version as usize).checked_sub(1)
    }

    /// Sets what [`Version::fold`] answers.
    pub(super) fn folded_by(&mut self, fold: usize) {
        // SAFETY: owned.
        unsafe { self.0.as_mut() }.version = fold as u64 + 1;
    }

    /// Who writes it.
    pub(super) fn origin(&self) -> Origin {
        self.header().origin
    }

    /// Takes back a box that was linked.
    ///
    /// # Safety
    /// It came from a `Version` that was not dropped, and nothing names it any more.
    pub(super) unsafe fn owned(node: NonNull<VersionHeader>) -> Self {
        Self(node)
    }

    /// The box.
    pub(super) fn node(&self) -> NonNull<VersionHeader> {
        self.0
    }

    pub(super) fn header(&self) -> &VersionHeader {
        // SAFETY: owned, so alive as long as `self`.
        unsafe { self.0.as_ref() }
    }

    /// Whether dropping the value may run code of a user's, or code of ours that takes long.
    pub(crate) fn needs_drop(&self) -> bool {
        self.header().glue.needs_drop
    }

    /// The box, lent: it stays where it is when the `Version` that owns it moves.
    #[inline]
    pub(super) fn lend(&self) -> Lent {
        Lent(self.0)
    }

    /// Drops the value, whatever that runs, and frees the node.
    pub(crate) fn dispose(self) {
        let glue = self.header().glue;
        let node = ManuallyDrop::new(self).0;
        #[cfg(not(loom))]
        // SAFETY: `glue` was set by `new` for this node's type; `self` is consumed.
        unsafe {
            (glue.dispose)(node)
        };
        // The models keep the memory and mark it: a late reader is caught and not undefined.
        #[cfg(loom)]
        // SAFETY: as `dispose`.
        unsafe {
            (glue.poison)(node)
        };
    }
}

impl Drop for Version {
    /// Frees at once what has no drop glue; hands the rest to the threads that may run it.
    fn drop(&mut self) {
        let this = Version(self.0);
        if this.needs_drop() {
            super::deferred::dispose_later(this);
        } else {
            this.dispose();
        }
    }
}

/// A version with a value of a collection, which nobody has written yet.
pub(crate) struct Boxed<T>(Version, PhantomData<fn() -> T>);

impl<T: Kept> Boxed<T> {
    #[inline]
    pub(crate) fn new(value: T) -> Self {
        let glue = if value.is_plain() { &KeptOf::<T>::PLAIN } else { &KeptOf::<T>::GLUE };
        Self(Version::boxed(value, glue, Origin::default()), PhantomData)
    }

    /// The version, by whoever writes it.
    #[inline]
    pub(super) fn written_by(mut self, origin: Origin) -> Version {
        // SAFETY: owned.
        unsafe { self.0.0.as_mut() }.origin = origin;
        self.0
    }
}

impl<T: Kept> From<T> for Boxed<T> {
    #[inline]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<H: Kept, E: Send + Sync + 'static> Boxed<Tailed<H, E>> {
    /// A value with entries.
    ///
    /// # Panics
    /// If the iterator does not give as many as it says.
    #[inline]
    pub(crate) fn tailed(head: H, entries: impl ExactSizeIterator<Item = E>) -> Self {
        let len = entries.len();
        // Whose cells have a state beside the value.
        assert!(cfg!(not(loom)) || len == 0, "the models have no tails");
        let place = Place::new(TailedOf::<H, E>::size(len));
        let start = place.at();
        start.as_ptr().expose_provenance();
        // SAFETY: inside the place, which is larger than a node.
        let first = unsafe { start.add(TailedOf::<H, E>::AT) }.cast::<E>();
        let mut tail = Filling { place, first, len: 0 };
        for entry in entries.take(len) {
            // SAFETY: one of `len`, for which there is room; aligned as a field of the node.
            let at = unsafe { first.add(tail.len) };
            // SAFETY: as above, owned, and nothing is there yet.
            unsafe { at.write(entry) };
            tail.len += 1;
        }
        assert!(tail.len == len, "{} entries instead of {len}", tail.len);
        let value = Tailed::<H, E> { head, len, tail: [] };
        let plain = value.is_plain();
        let glue = if plain { &TailedOf::<H, E>::PLAIN } else { &TailedOf::<H, E>::GLUE };
        let place = tail.filled();
        // SAFETY: a place of `TailedOf::size` for so many entries, which stand in it.
        let version = unsafe { Version::placed(place, value, glue, Origin::default()) };
        Self(version, PhantomData)
    }

    #[inline]
    pub(crate) fn value(&self) -> &Tailed<H, E> {
        // SAFETY: of this type, and owned.
        unsafe { self.0.lend().value() }
    }

    #[inline]
    pub(crate) fn entries_mut(&mut self) -> &mut [E] {
        let value = self.value();
        // SAFETY: as in `entries`; owned, so that `&mut self` is the only access.
        unsafe { slice::from_raw_parts_mut(value.first(), value.len) }
    }
}

/// A box whose tail is not complete: dropped when an entry cannot be made.
struct Filling<E> {
    place: Place,
    first: NonNull<E>,
    len: usize,
}

impl<E> Filling<E> {
    #[inline]
    fn filled(self) -> Place {
        let filling = ManuallyDrop::new(self);
        // SAFETY: `self` is not used again; neither of the other fields owns anything then.
        unsafe { ptr::read(&filling.place) }
    }
}

impl<E> Drop for Filling<E> {
    fn drop(&mut self) {
        let entries = ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len);
        // SAFETY: so many were written, and nobody else has them.
        unsafe { ptr::drop_in_place(entries) };
    }
}

/// A version that somebody else owns and has promised to keep.
#[derive(Clone, Copy)]
pub(super) struct Lent(pub(super) NonNull<VersionHeader>);

// SAFETY: gives out only `&T`, and `T: Send + Sync`.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    /// The value, of the type it was made with.
    ///
    /// # Safety
    /// The version was made by `Version::new::<T>`, and its owner keeps it unwritten during 'a.
    #[inline]
    pub(super) unsafe fn value<'a, T>(self) -> &'a T {
        // SAFETY: both conditions are the caller's.
        unsafe { value_of(self.0.as_ptr()) }
    }

    /// The value, without its type.
    ///
    /// # Safety
    /// The owner of the version keeps it unwritten during 'a.
    pub(super) unsafe fn seen<'a>(self) -> Seen<'a> {
        Seen(self, PhantomData)
    }
}

/// A value of some type, alive during 'a.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a>(Lent, PhantomData<&'a ()>);

impl<'a> Seen<'a> {
    /// The value, if it is of this type.
    pub(super) fn downcast<T: 'static>(self) -> Option<&'a T> {
        let node = self.0.0.as_ptr();
        // SAFETY: kept during 'a by the promise of `Lent::seen`.
        let glue = unsafe { self.0.0.as_ref() }.glue;
        let matches = !glue.reserved && (glue.type_id)() == TypeId::of::<T>();
        // SAFETY: as above, and tested to be of this type.
        matches.then(|| unsafe { value_of(node) })
    }

    /// What a collection keeps, as text.
    pub(super) fn text(self) -> Option<String> {
        // SAFETY: as above.
        unsafe { self.0.0.as_ref() }.glue.text?(self)
    }
}

/// # Safety
/// `node` is a `VersionNode<T>` that is not freed while the answer is used.
#[inline(always)]
pub(super) unsafe fn value_of<'a, T>(node: *mut VersionHeader) -> &'a T {
    #[cfg(loom)]
    // SAFETY: the models never free a node.
    unsafe { &*node }.alive.with(|alive| assert!(unsafe { *alive }, "read after free"));
    let node: *const VersionNode<T> = node.cast();
    // SAFETY: the caller's: it is such a node, and alive; a published value is never written.
    unsafe { &*node }.value.with(|value| unsafe { &*value })
}
