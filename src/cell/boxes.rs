//! Versions: values in boxes without their type, linked or not.
//!
//! One of the five files with `unsafe`. A [`Version`] owns its box until it is linked; then the
//! chain does, see [`super::node`]. [`Lent`] and [`Seen`] borrow one from whoever keeps it.
#![expect(
    unsafe_code,
    reason = "type-erased value boxes: one of the five files of the cell module"
)]

use super::labels::Label;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, Table, UnsafeCell};
use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    any::{TypeId, type_name},
    cell::Cell,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr,
    ptr::NonNull,
};

/// The steps in which the sizes of small boxes grow, in bytes.
const STEP: usize = 16;
/// The most that a small box is aligned to: what allocators give without asking.
const ALIGN: usize = align_of::<VersionHeader>();
/// Boxes of so many steps and more are not kept for later.
const CLASSES: usize = 9;
/// How many free boxes of one size change hands together. A thread keeps at most twice as many.
const MAGAZINE: usize = 64;
/// The most magazines of one size that lie in the depot.
const DEPOT: usize = 8;

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
    pub(super) fn size(&self) -> usize {
        self.glue.size
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

/// Who wrote a version: the label of the handler and the place of the write, 0 when not recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The handler's label.
    pub(crate) handler: Label,
    /// The number of the place, see [`super::labels`].
    pub(crate) place: u32,
}

/// The type of a version, erased.
struct Glue {
    /// Drops the value and frees the node.
    dispose: unsafe fn(NonNull<VersionHeader>),
    needs_drop: bool,
    /// Of the box, in bytes.
    size: usize,
    /// Whether there is no value yet.
    reserved: bool,
    type_id: fn() -> TypeId,
    type_name: fn() -> &'static str,
    /// Drops the value and keeps the node.
    #[cfg(loom)]
    poison: unsafe fn(NonNull<VersionHeader>),
}

struct GlueOf<T>(PhantomData<T>);

/// What a collection keeps in its cells.
pub(crate) trait Kept: Send + Sync + Sized + 'static {
    /// Whether to drop this value is to free memory and no more. Then it need not be put off.
    fn is_plain(&self) -> bool {
        !std::mem::needs_drop::<Self>()
    }
}

/// The glue of a box with a plain value, see [`Kept`].
struct PlainOf<T>(PhantomData<T>);

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
        needs_drop: std::mem::needs_drop::<T>(),
        size: size_of::<VersionNode<T>>(),
        reserved: false,
        type_id: TypeId::of::<T>,
        type_name: type_name::<T>,
        #[cfg(loom)]
        poison: poison::<T>,
    };
}

impl<T: Send + Sync + 'static> PlainOf<T> {
    const GLUE: Glue = Glue { needs_drop: false, ..GlueOf::<T>::GLUE };
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
        reserved: true,
        type_id: TypeId::of::<T>,
        type_name: type_name::<T>,
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
    let _place = Place { at: node.cast(), size: Size::of::<T>() };
    // SAFETY: the caller's; the header is the first field of the node.
    unsafe { ptr::drop_in_place(node.cast::<VersionNode<T>>().as_ptr()) };
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

/// How much memory a box takes, and in which list it is kept when it is free.
#[derive(Clone, Copy)]
struct Size {
    layout: Layout,
    /// Its size in steps; 0 if it is not kept.
    class: usize,
}

impl Size {
    const fn of<T>() -> Self {
        let layout = Layout::new::<VersionNode<T>>();
        let class = layout.size().div_ceil(STEP);
        if class < CLASSES
            && layout.align() <= ALIGN
            && cfg!(not(any(txloop_sanitize, shuttle)))
            && let Ok(layout) = Layout::from_size_align(class * STEP, ALIGN)
        {
            return Self { layout, class };
        }
        Self { layout, class: 0 }
    }
}

/// Memory for one box, owned.
struct Place {
    at: NonNull<u8>,
    size: Size,
}

impl Place {
    #[inline]
    fn new(size: Size) -> Self {
        let kept = match size.class {
            0 => None,
            class => FREE.try_with(|free| free.take(class)).ok().flatten(),
        };
        let at = kept.unwrap_or_else(|| {
            // SAFETY: a node has a header, so the size is not zero.
            NonNull::new(unsafe { alloc(size.layout) })
                .unwrap_or_else(|| handle_alloc_error(size.layout))
        });
        Self { at, size }
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        let Size { layout, class } = self.size;
        // Not kept once the thread has begun to end.
        let kept = class != 0 && FREE.try_with(|free| free.give(class, self.at)).is_ok();
        if !kept {
            // SAFETY: owned, and allocated in `new` with this layout, perhaps for another node.
            unsafe { dealloc(self.at.as_ptr(), layout) };
        }
    }
}

/// Free boxes of one size: the first names the next.
#[derive(Clone, Copy)]
struct Magazine {
    first: *mut u8,
    count: usize,
}

// SAFETY: the boxes in it are owned by it, and free memory belongs to no thread.
unsafe impl Send for Magazine {}

impl Magazine {
    const EMPTY: Self = Self { first: ptr::null_mut(), count: 0 };

    #[inline]
    fn take(&mut self) -> Option<NonNull<u8>> {
        let at = NonNull::new(self.first)?;
        // SAFETY: a box in a magazine is owned by it, large and aligned enough for a pointer, and
        // was given one in `give`.
        self.first = unsafe { at.cast::<*mut u8>().read() };
        self.count -= 1;
        Some(at)
    }

    #[inline]
    fn give(&mut self, at: NonNull<u8>) {
        // SAFETY: the caller owned the box, whose value is gone; see `take`.
        unsafe { at.cast::<*mut u8>().write(self.first) };
        self.first = at.as_ptr();
        self.count += 1;
    }

    fn dealloc(mut self, class: usize) {
        let Ok(layout) = Layout::from_size_align(class * STEP, ALIGN) else { return };
        while let Some(at) = self.take() {
            // SAFETY: owned by the magazine; every box of a class has this layout.
            unsafe { dealloc(at.as_ptr(), layout) };
        }
    }
}

thread_local! {
    /// Versions are made where handlers run and freed where commits end, in the long run often by
    /// another thread than the one that had allocated the memory: giving it back to the allocator
    /// there costs more than the rest of a small transaction. (Magazines and depot: Bonwick and
    /// Adams, 2001.)
    static FREE: Free = const { Free([const { Cell::new([Magazine::EMPTY; 2]) }; CLASSES]) };
}

/// Full magazines that threads had too many of, by size.
static FULL: [Table<Vec<Magazine>>; CLASSES] = [const { Table::new(Vec::new()) }; CLASSES];

/// The magazines of a thread, by size: the one in use, and one that is full or empty.
struct Free([Cell<[Magazine; 2]>; CLASSES]);

impl Free {
    #[inline]
    fn take(&self, class: usize) -> Option<NonNull<u8>> {
        let [mut used, other] = self.0[class].get();
        if used.count == 0 {
            return self.exchange_empty(class, other);
        }
        let at = used.take();
        self.0[class].set([used, other]);
        at
    }

    #[cold]
    fn exchange_empty(&self, class: usize, other: Magazine) -> Option<NonNull<u8>> {
        let mut used = match other.count {
            0 => FULL[class].lock().pop()?,
            _ => other,
        };
        let at = used.take();
        self.0[class].set([used, Magazine::EMPTY]);
        at
    }

    #[inline]
    fn give(&self, class: usize, at: NonNull<u8>) {
        let [mut used, other] = self.0[class].get();
        if used.count == MAGAZINE {
            self.exchange_full(class, other);
            self.0[class].set([Magazine::EMPTY, used]);
            return self.give(class, at);
        }
        used.give(at);
        self.0[class].set([used, other]);
    }

    /// Makes room for a full magazine where `other` is.
    #[cold]
    fn exchange_full(&self, class: usize, other: Magazine) {
        if other.count != 0 {
            let mut depot = FULL[class].lock();
            if depot.len() < DEPOT {
                depot.push(other);
            } else {
                drop(depot);
                other.dealloc(class);
            }
        }
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        for class in 1..CLASSES {
            let [used, other] = self.0[class].replace([Magazine::EMPTY; 2]);
            used.dealloc(class);
            other.dealloc(class);
        }
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

    /// The same for a value of a collection.
    #[inline]
    pub(crate) fn kept<T: Kept>(value: T, origin: Origin) -> Self {
        let glue = if value.is_plain() { &PlainOf::<T>::GLUE } else { &GlueOf::<T>::GLUE };
        Self::boxed(value, glue, origin)
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
        let node = std::mem::ManuallyDrop::new(Place::new(Size::of::<V>())).at;
        let header = VersionHeader {
            next: AtomicPtr::new(ptr::null_mut()),
            version: 0,
            glue,
            origin,
            #[cfg(loom)]
            alive: UnsafeCell::new(true),
        };
        let value = UnsafeCell::new(value);
        // SAFETY: the place is owned, and has the size and alignment of such a node.
        unsafe { node.cast::<VersionNode<V>>().write(VersionNode { header, value }) };
        Self(node.cast())
    }

    /// Puts a value into a reserved box; gives it back if the box is not reserved for its type.
    pub(super) fn fill<T: Send + Sync + 'static>(&mut self, value: T) -> Result<(), T> {
        let glue = self.header().glue;
        if !glue.reserved || (glue.type_id)() != TypeId::of::<T>() {
            return Err(value);
        }
        let mut node = self.0.cast::<VersionNode<MaybeUninit<T>>>();
        // SAFETY: owned; reserved for a `T`, where a `MaybeUninit<T>` lies as a `T` would.
        let node = unsafe { node.as_mut() };
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
        let mut node = self.0.cast::<VersionNode<T>>();
        // SAFETY: owned, and tested to be of this type.
        let node = unsafe { node.as_mut() };
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

    fn header(&self) -> &VersionHeader {
        // SAFETY: owned, so alive as long as `self`.
        unsafe { self.0.as_ref() }
    }

    /// See [`VersionHeader::size`].
    pub(super) fn size(&self) -> usize {
        self.header().size()
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
        let node = std::mem::ManuallyDrop::new(self).0;
        #[cfg(not(loom))]
        {
            // SAFETY: alive until the next line.
            let dispose = unsafe { node.as_ref() }.glue.dispose;
            // SAFETY: `glue` was set by `new` for this node's type; `self` is consumed.
            unsafe { dispose(node) };
        }
        // The models keep the memory and mark it: a late reader is caught and not undefined.
        #[cfg(loom)]
        {
            // SAFETY: alive; never freed in the models.
            let poison = unsafe { node.as_ref() }.glue.poison;
            // SAFETY: as `dispose`.
            unsafe { poison(node) };
        }
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
