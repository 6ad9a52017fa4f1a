/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "ref_resume.h"
#include "action.h"
#include "poison.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define WP_ASYNC (1 << 13 | 1 << 15)	/* unpopulated as well (6.4), async (6.7) */
#define STAGED 4096	/* pages that one begin can move into place */

static struct {
	char *data;
	const char *mirror;
	size_t len;
	size_t page;
	enum ref_way way;
	int fd;
	int file;
	char stage[4096];
	char *staged;
	size_t next;
	struct action before;
} ref = { .fd = -1 };

/* Where the one load of ref_load() begins, and the instruction after it. */
extern const char ref_load_at[], ref_load_next[];

#if defined(__x86_64__)
#define LOAD "movb (%1), %b0"
#define PC(context) ((context)->uc_mcontext.gregs[REG_RIP])
#elif defined(__aarch64__)
#define LOAD "ldrb %w0, [%1]"
#define PC(context) ((context)->uc_mcontext.pc)
#else
#error "write down here how this machine loads a byte"
#endif

__attribute__((noinline)) char ref_load(const char *at)
{
	int byte = 0;

	__asm__ volatile(".globl ref_load_at, ref_load_next\n"
			 ".hidden ref_load_at, ref_load_next\n"
			 "ref_load_at:\n\t" LOAD "\nref_load_next:"
			 : "+r"(byte) : "r"(at) : "memory");
	return (char)byte;
}

static void by_copy(char *at)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)at, .len = ref.page,
		.src = (uintptr_t)ref.mirror + (size_t)(at - ref.data) };

	if (madvise(at, ref.page, MADV_DONTNEED) < 0 ||
	    ioctl(ref.fd, UFFDIO_COPY, &copy) < 0)
		abort();
}

/* Only for a marker: a real poison entry is in the way. */
static void by_marker(char *at)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)at, .len = ref.page,
		.src = (uintptr_t)ref.mirror + (size_t)(at - ref.data) };

	if (ioctl(ref.fd, UFFDIO_COPY, &copy) < 0)
		abort();
}

/* Registered as before afterwards: not at all, or for tracked writes. */
static void by_page(char *at)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)at, ref.page },
		.mode = UFFDIO_REGISTER_MODE_MISSING };

	if (ioctl(ref.fd, UFFDIO_REGISTER, &reg) < 0)
		abort();
	by_copy(at);
	reg.mode = UFFDIO_REGISTER_MODE_WP;
	if (ref.way == REF_TRACKED ?
	    ioctl(ref.fd, UFFDIO_REGISTER, &reg) < 0 :
	    ioctl(ref.fd, UFFDIO_UNREGISTER, &reg.range) < 0)
		abort();
}

static void by_file(char *at)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)at, ref.page },
		.mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_copy copy = { .dst = (uintptr_t)at, .len = ref.page,
				    .src = (uintptr_t)ref.stage };

	if (pread(ref.file, ref.stage, ref.page, at - ref.data) !=
	    (ssize_t)ref.page ||
	    ioctl(ref.fd, UFFDIO_REGISTER, &reg) < 0 ||
	    madvise(at, ref.page, MADV_DONTNEED) < 0 ||
	    ioctl(ref.fd, UFFDIO_COPY, &copy) < 0 ||
	    ioctl(ref.fd, UFFDIO_UNREGISTER, &reg.range) < 0)
		abort();
}

static void by_write(char *at)
{
	if (pwrite(ref.file, ref.mirror + (at - ref.data), ref.page,
		   at - ref.data) != (ssize_t)ref.page ||
	    madvise(at, ref.page, MADV_DONTNEED) < 0)
		abort();
}

static void by_mremap(char *at)
{
	char *from = ref.staged + ref.next++ * ref.page;

	memcpy(from, ref.mirror + (at - ref.data), ref.page);
	if (ref.next > STAGED ||
	    mremap(from, ref.page, ref.page, MREMAP_MAYMOVE | MREMAP_FIXED,
		   at) != at)
		abort();
}

static void by_mmap(char *at)
{
	if (mmap(at, ref.page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
		abort();
	memcpy(at, ref.mirror + (at - ref.data), ref.page);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	char *at = (char *)((uintptr_t)info->si_addr & -ref.page);
	int saved = errno;

	(void)sig;
	if ((size_t)(at - ref.data) >= ref.len)
		abort();
	switch (ref.way) {
	case REF_PAGE:
	case REF_TRACKED:
		by_page(at);
		break;
	case REF_ALL:
		by_copy(at);
		break;
	case REF_MARKER:
		by_marker(at);
		break;
	case REF_MREMAP:
		by_mremap(at);
		break;
	case REF_MMAP:
		by_mmap(at);
		break;
	case REF_FILE:
		by_file(at);
		break;
	case REF_SHARED:
		by_write(at);
		break;
	case REF_SKIP:
		if (PC((ucontext_t *)context) != (intptr_t)ref_load_at)
			abort();
		PC((ucontext_t *)context) = (intptr_t)ref_load_next;
		break;
	}
	errno = saved;
}

/* [1] for tracked writes, which are a feature of the descriptor. */
static int fd_of[2] = { -1, -1 };

static int registered_whole(void)
{
	return ref.way == REF_ALL || ref.way == REF_MARKER ||
	       ref.way == REF_TRACKED;
}

static int prepare(void)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)ref.data, ref.len },
		.mode = ref.way == REF_TRACKED ? UFFDIO_REGISTER_MODE_WP :
						 UFFDIO_REGISTER_MODE_MISSING };

	if (fd_of[ref.way == REF_TRACKED] < 0)
		fd_of[ref.way == REF_TRACKED] =
			poison_uffd(ref.way == REF_TRACKED ? WP_ASYNC : 0);
	ref.fd = fd_of[ref.way == REF_TRACKED];
	if (ref.fd < 0)
		return ref.fd;
	if (registered_whole() && ioctl(ref.fd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	if (ref.way != REF_MREMAP)
		return 0;
	ref.next = 0;
	ref.staged = mmap(NULL, STAGED * ref.page, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ref.staged == MAP_FAILED)
		return -errno;
	madvise(ref.staged, STAGED * ref.page, MADV_NOHUGEPAGE);
	return 0;
}

int ref_resume_begin(char *data, const char *mirror, size_t len, size_t page,
		     int fd, enum ref_way way)
{
	int err;

	ref.data = data;
	ref.mirror = mirror;
	ref.len = len;
	ref.page = page;
	ref.file = fd;
	ref.way = way;
	err = prepare();
	if (err < 0)
		return err;
	return action_replace(on_sigbus, &ref.before);
}

void ref_resume_end(void)
{
	struct uffdio_range range = { (uintptr_t)ref.data, ref.len };

	action_put_back(&ref.before);
	if (registered_whole())
		ioctl(ref.fd, UFFDIO_UNREGISTER, &range);
	if (ref.way == REF_MREMAP)
		munmap(ref.staged, STAGED * ref.page);
}
