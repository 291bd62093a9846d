//! Versions: values in boxes without their type, linked or not.
//!
//! One of the four files with `unsafe`. A [`Version`] owns its box until it is linked; then the
//! chain does, see [`super::node`]. [`Lent`] and [`Seen`] borrow one from whoever keeps it.
#![expect(
    unsafe_code,
    reason = "type-erased value boxes: one of the four files of the cell module"
)]

use super::labels::Label;
use crate::sync::{AtomicPtr, UnsafeCell};
use std::{
    any::{TypeId, type_name},
    marker::PhantomData,
    mem::MaybeUninit,
    ptr,
    ptr::NonNull,
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
/// `node` was made by `Version::new::<T>` and is not used again.
unsafe fn dispose<T>(node: NonNull<VersionHeader>) {
    // SAFETY: the caller's; the header is the first field of the node, which came from a box.
    drop(unsafe { Box::from_raw(node.cast::<VersionNode<T>>().as_ptr()) });
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

    /// A box for a value that a fold makes at commit; until then it has none.
    pub(super) fn reserved<T: Send + Sync + 'static>(origin: Origin) -> Self {
        Self::boxed(MaybeUninit::<T>::uninit(), &ReservedOf::<T>::GLUE, origin)
    }

    #[inline]
    fn boxed<V>(value: V, glue: &'static Glue, origin: Origin) -> Self {
        let node = Box::new(VersionNode {
            header: VersionHeader {
                next: AtomicPtr::new(ptr::null_mut()),
                version: 0,
                glue,
                origin,
                #[cfg(loom)]
                alive: UnsafeCell::new(true),
            },
            value: UnsafeCell::new(value),
        });
        // SAFETY: a box is never null.
        Self(unsafe { NonNull::new_unchecked(Box::into_raw(node)) }.cast())
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

    /// Whether dropping the value runs code.
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
