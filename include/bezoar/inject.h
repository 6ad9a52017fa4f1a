/* SPDX-License-Identifier: MIT */
/*
 * bezoar-inject - lose a page of memory on purpose, and get it back.
 *
 * To test what a program does when memory fails, memory has to fail. This
 * library makes it fail with whatever the machine allows, says how true to
 * life that is, and undoes it:
 *
 *	bez_inject_t poison;
 *
 *	bez_inject(page, 4096, BEZ_INJECT_AUTO, 0, &poison);
 *	... whoever touches the page now gets SIGBUS ...
 *	bez_inject_undo(poison);
 *
 * It is a library of its own: it links only libc, does not need libbezoar and
 * tests programs that do not use libbezoar just as well.
 *
 * While poison is put in or taken out no thread sees a wrong byte: a thread
 * that touches the page at that moment waits, and a system call that does gets
 * EFAULT as if the poison were there. What a thread wrote before the page was
 * lost is in the bytes that undo brings back.
 *
 * CAVEATS
 *
 *  - It stands in for a memory error; no memory cell goes bad. What a back
 *    end leaves out is said by its fidelity and on bez_inject(3).
 *  - Never poison what the injecting thread itself stands on: the stack
 *    around the call, errno, this library's own tables. That is refused
 *    (-EDEADLK), but other such places exist.
 *  - A child made by fork(2) has the poison but not the tokens: it can make
 *    and undo poison of its own and never touches its parent's. fork(2) in
 *    another thread waits until an injection is complete; clone(2) called
 *    directly does not, and such a child can see a hole.
 *  - What a device or a system call that has a page pinned writes while it
 *    is poisoned may be missing after undo, but for BEZ_INJECT_UFFD on plain
 *    private memory: there the page itself is kept.
 *  - A repair that moves a page into place with mremap(2) at the very moment
 *    of undo may be undone with it, if the poison is not BEZ_INJECT_UFFD.
 *
 * Every function returns 0 or a negative errno and touches what its ret_
 * arguments point to only on success, unless it says otherwise. All of them
 * may be called by any thread, also in a signal handler or in a source of
 * libbezoar: signals are blocked while they work, so none interrupts another.
 * Those that pthread_atfork(3) calls may not use tokens (-EDEADLK).
 *
 * This header compiles as C99 and C++11.
 */
#ifndef BEZOAR_INJECT_H
#define BEZOAR_INJECT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the page is lost. The numbers are pinned and never reused. */
enum bez_inject_backend {
	/* The truest of MADV, HWPOISON_INJECT and UFFD that this process may
	 * use for this memory; bez_inject_state() says which it was. Never
	 * TRUNCATE, which loses more than what was asked for. */
	BEZ_INJECT_AUTO = 0,
	/* A poison marker in this process's page table, by userfaultfd(2).
	 * No privilege. Linux 6.6. */
	BEZ_INJECT_UFFD = 1,
	/* madvise(2) MADV_HWPOISON: the kernel loses the physical page, for
	 * all who map it. CAP_SYS_ADMIN, CONFIG_MEMORY_FAILURE. */
	BEZ_INJECT_MADV = 2,
	/* The file mapped here is cut off below addr: everything from there
	 * to its end is gone, for everybody. Write access to the file. */
	BEZ_INJECT_TRUNCATE = 3,
	/* debugfs hwpoison/corrupt-pfn: as MADV, but found "by a scrubber":
	 * a process that asked for early notice gets BUS_MCEERR_AO now.
	 * Root, CONFIG_HWPOISON_INJECT. */
	BEZ_INJECT_HWPOISON_INJECT = 4
};

/* How true to life a back end is. More is truer. */
enum bez_inject_fidelity {
	BEZ_INJECT_FIDELITY_NONE = 0,
	/* Only the page table says so: no page frame is lost, nobody else
	 * sees it, and on a kernel without memory-failure support the signal
	 * is BUS_ADRERR. */
	BEZ_INJECT_FIDELITY_EMULATED = 1,
	/* The kernel's own recovery code runs; only the report is made up.
	 * TRUNCATE is of this kind: its BUS_ADRERR is not like the real one,
	 * it is the real one. */
	BEZ_INJECT_FIDELITY_KERNEL = 2,
	/* The hardware reports the error. No back end of this release. */
	BEZ_INJECT_FIDELITY_HARDWARE = 3
};

/* What bez_inject_undo() can do. */
enum bez_inject_undoable {
	BEZ_INJECT_UNDO_NONE = 0,	/* nothing: -EOPNOTSUPP */
	/* The bytes come back; the physical page stays out of use until the
	 * next boot, as debugfs hwpoison/unpoison-pfn is not to be had. */
	BEZ_INJECT_UNDO_BYTES = 1,
	BEZ_INJECT_UNDO_FULL = 2	/* everything is as before */
};

/* Flags */
#define BEZ_INJECT_NO_UNDO	0x1u /* keep no copy of what is lost */

/* Names one injection; 0 is never one, and none is used twice. */
typedef uint64_t bez_inject_t;

/*
 * Poison every page of [@addr, @addr + @len): both multiples of the page size
 * of the mapping, which for hugetlb is the huge page. All pages or none: if
 * it fails nothing has changed. @flags: BEZ_INJECT_NO_UNDO or 0. The token
 * must be given back by bez_inject_undo() or bez_inject_forget().
 *
 * The caller gets no signal from this call itself, whatever the back end; the
 * next touch does. What memory each back end takes:
 *
 *	UFFD		private anonymous, shared memory and memfd, hugetlb
 *	MADV,		the same; with undo only private anonymous and private
 *	HWPOISON_INJECT	hugetlb, written at least once or writable, as others
 *			could see the hole in shared memory while it is undone
 *	TRUNCATE	one mapping of a regular file. With undo the rest of
 *			the file is copied: stop its writers first; and
 *			private pages must be unchanged. addr and len say
 *			where; all from addr to the end of the file is lost.
 *
 * -EINVAL: misaligned, empty, wraps around, unknown back end or flag, NULL.
 * -ENOMEM: part of it is not mapped, or no memory. -EOPNOTSUPP: not this kind
 * of memory, not on this kernel, or not without NO_UNDO; with AUTO: no back
 * end fits. -EPERM, -EACCES: not allowed; bez_inject_why() says what to do.
 * -EALREADY: part of it is lost already. -EBUSY: another userfaultfd holds
 * the memory and kept it for a second (a repair is going on, or the program
 * tracks its pages), or the kernel would not poison a page now. -EDEADLK: the
 * calling thread stands on it. Or what the back end's system calls said.
 * Context: any, also in a handler.
 */
int bez_inject(void *addr, size_t len, uint32_t backend, uint32_t flags,
	       bez_inject_t *ret_token);

struct bez_inject_info {
	uint32_t size;		/* sizeof(struct bez_inject_info) */
	uint32_t backend;	/* enum bez_inject_backend, never AUTO */
	uint32_t fidelity;	/* enum bez_inject_fidelity */
	uint32_t undo;		/* enum bez_inject_undoable */
	void *addr;
	size_t len;
	size_t page_size;	/* of the mapping when it was injected */
	uint64_t pages;		/* poisoned by this injection */
	uint64_t poisoned;	/* of these, still poisoned now */
	int32_t si_code;	/* what a touch gets: BUS_MCEERR_AR, or
				 * BUS_ADRERR */
	uint32_t reserved;	/* 0 */
};

/*
 * How an injection stands. Set ret_info->size first. The pages are probed
 * (MADV_POPULATE_READ, Linux 5.14): a page that somebody replaced, discarded
 * or unmapped does not count as poisoned.
 *
 * -ENOENT: no such token. -EINVAL: NULL, or a size too small. -E2BIG: a size
 * too large with unknown bytes that are not zero.
 * Context: any, also in a handler.
 */
int bez_inject_state(bez_inject_t token, struct bez_inject_info *ret_info);

/*
 * Bring the bytes back, take the poison away and give the token back. Pages
 * that are no longer poisoned (replaced by a repair, say) are left as they
 * are. UFFD, MADV and HWPOISON_INJECT put each page in place in one step;
 * a file that was cut grows back page by page from where it ends now.
 * Physical pages are given back where debugfs hwpoison/unpoison-pfn lets us;
 * bez_inject_frames_kept() counts the others.
 *
 * -ENOENT: no such token. -EOPNOTSUPP: injected with NO_UNDO. -EBUSY: another
 * userfaultfd held a page for a second. -ESTALE: the file has since been cut
 * further, or is another. Or what a system call said. After an error the
 * token stays and the call may be repeated: the pages that were done are not
 * poisoned any more.
 * Context: any, also in a handler.
 */
int bez_inject_undo(bez_inject_t token);

/*
 * Give the token back and leave the memory as it is. The copy is gone.
 * -ENOENT: no such token. Context: any, also in a handler.
 */
int bez_inject_forget(bez_inject_t token);

/*
 * Physical pages that undo could not give back, and those of MADV and
 * HWPOISON_INJECT that were forgotten: they are out of use until the next
 * boot. Counted for this process. Context: any, handler-safe.
 */
uint64_t bez_inject_frames_kept(void);

/*
 * May this process use @backend on this kernel at all? 0; or -EOPNOTSUPP (the
 * kernel cannot), -EPERM, -EACCES (not allowed), -EINVAL (no such back end).
 * For AUTO: 0 if one of those it chooses from is available.
 * Context: any, also in a handler.
 */
int bez_inject_available(uint32_t backend);

/*
 * The same in words: why not, and what to do about it; "usable" if it is. A
 * static string, never NULL. Context: any, also in a handler.
 */
const char *bez_inject_why(uint32_t backend);

/* enum bez_inject_fidelity of @backend; NONE for AUTO and unknown ones.
 * Context: any, handler-safe. */
uint32_t bez_inject_fidelity(uint32_t backend);

/*
 * "uffd", "madv", "truncate", "hwpoison-inject", "auto"; "emulated", "kernel",
 * "hardware", "none". Static strings, never NULL, "unknown" for numbers they
 * do not know. Context: any, handler-safe.
 */
const char *bez_inject_backend_name(uint32_t backend);
const char *bez_inject_fidelity_name(uint32_t fidelity);

#ifdef __cplusplus
}
#endif

#endif
