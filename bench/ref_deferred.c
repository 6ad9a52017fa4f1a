/* SPDX-License-Identifier: MIT */
#include "ref_deferred.h"
#include "action.h"
#include "poison.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	char *data;
	const char *mirror;
	size_t len;
	size_t page;
	int fd;
	char *staged;		/* one page, written by the thread */
	size_t offset;		/* of the page that is asked for */
	struct action before;
	_Atomic uint32_t asked;	/* written by the handler */
	_Atomic uint32_t done;	/* written by the thread: follows asked */
	_Atomic int tid;
} ref;

static void sleep_on(_Atomic uint32_t *word, uint32_t seen)
{
	while (atomic_load_explicit(word, memory_order_acquire) == seen)
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL);
}

static void set(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

static void *serve(void *arg)
{
	uint32_t done = 0;

	(void)arg;
	atomic_store(&ref.tid, (int)syscall(SYS_gettid));
	for (;;) {
		sleep_on(&ref.asked, done);
		memcpy(ref.staged, ref.mirror + ref.offset, ref.page);
		set(&ref.done, ++done);
	}
	return NULL;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr & -ref.page;
	struct uffdio_register reg = { .range = { at, ref.page },
				       .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_copy copy = { .dst = at, .src = (uintptr_t)ref.staged,
				    .len = ref.page };
	uint32_t done = atomic_load_explicit(&ref.done, memory_order_relaxed);
	int saved = errno;

	(void)sig;
	(void)context;
	ref.offset = at - (uintptr_t)ref.data;
	if (ref.offset >= ref.len)
		abort();
	set(&ref.asked, done + 1);
	sleep_on(&ref.done, done);
	if (ioctl(ref.fd, UFFDIO_REGISTER, &reg) < 0 ||
	    madvise((void *)at, ref.page, MADV_DONTNEED) < 0 ||
	    ioctl(ref.fd, UFFDIO_COPY, &copy) < 0 ||
	    ioctl(ref.fd, UFFDIO_UNREGISTER, &reg.range) < 0)
		abort();
	errno = saved;
}

int ref_deferred_start(char *data, const char *mirror, size_t len,
		       int *ret_tid)
{
	pthread_t thread;
	int err;

	ref.data = data;
	ref.mirror = mirror;
	ref.len = len;
	ref.page = (size_t)sysconf(_SC_PAGESIZE);
	ref.fd = poison_uffd(0);
	if (ref.fd < 0)
		return ref.fd;
	ref.staged = aligned_alloc(ref.page, ref.page);
	if (!ref.staged)
		return -ENOMEM;
	err = pthread_create(&thread, NULL, serve, NULL);
	if (err)
		return -err;
	while (atomic_load(&ref.tid) == 0)
		sched_yield();
	*ret_tid = atomic_load(&ref.tid);
	return 0;
}

int ref_deferred_begin(void)
{
	return action_replace(on_sigbus, &ref.before);
}

void ref_deferred_end(void)
{
	action_put_back(&ref.before);
}
