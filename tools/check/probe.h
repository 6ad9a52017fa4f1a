/* SPDX-License-Identifier: MIT */
/*
 * What an experiment has. It runs in a child, may do there what it likes, and
 * ends by one of the three verdicts; to die, to hang or to end without one is
 * VERDICT_BROKEN, and says where it was (probe_doing()).
 */
#ifndef BEZOAR_CHECK_PROBE_H
#define BEZOAR_CHECK_PROBE_H

#include <bezoar/bezoar.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NORETURN	__attribute__((noreturn))
#define PRINTS(n)	__attribute__((format(printf, n, (n) + 1)))

NORETURN void probe_holds(void);
/* It does, and not all of it was tried. */
NORETURN PRINTS(1) void probe_holds_but(const char *fmt, ...);
NORETURN PRINTS(1) void probe_broken(const char *fmt, ...);
NORETURN PRINTS(1) void probe_untested(const char *fmt, ...);

/* From here on: "... while it was <what>". A static string. */
void probe_doing(const char *what);

#define EXPECT(holds, ...) ((holds) ? (void)0 : probe_broken(__VA_ARGS__))

/* A child that does @work and exits with 0, or as it pleases. It dies with the
 * probe. */
pid_t probe_child(void (*work)(void *arg), void *arg);
/* Its status as of waitpid(2), once it has ended. */
int probe_ended(pid_t pid);

/* ----------------------------------------------------------- memory to lose */

size_t probe_page(void);

/* Private pages, never a huge one, full of what probe_byte() says. */
unsigned char *probe_pages(size_t count);
unsigned char probe_byte(size_t offset);
void probe_fill(unsigned char *at, size_t len);
/* How many bytes are not as filled. Reads them all. */
size_t probe_wrong(const volatile unsigned char *at, size_t len);

/* 1: the kernel loses real pages. */
int probe_is_real(void);

/* Lose the page at @at (@width bytes, where they are not ordinary ones), or end
 * untested: with the reason. It is not signalled before it is touched. */
void probe_lose(void *at);
void probe_lose_width(void *at, size_t width);

/* The same "by a scrubber", with early notice for who asked: real poison. */
void probe_lose_early(void *at);

/* The same by another process, behind the back of this one: real poison. */
void probe_lose_elsewhere(void *at);

/* Call these first: they end untested where poison is not real, or early notice
 * is not to be had. */
void probe_wants_real(void);
void probe_wants_early(void);

/* --------------------------------------------------------- with the library */

/* bez_start() with BEZ_START_* flags. */
void probe_start(uint32_t flags);

/* A region that is replaced from a mirror; or with the ladder @actions. */
bez_region_t probe_mirrored(void *at, size_t len, const void *copy);
bez_region_t probe_region(void *at, size_t len,
			  const struct bez_policy *policy);

/* ---------------------------------------------------------- its experiments */

void s1_address(void);
void s1_huge(void);
void s1_fork(void);
void s1_early(void);
void s2_resumes(void);
void s2_no_wrong_byte(void);
void s2_attributes(void);
void s2_own_stack(void);
void s2_announced(void);
void s2_kinds(void);
void s2_shared(void);
void s3_told(void);
void s3_stays_lost(void);
void s3_state(void);
void s4_record(void);
void s4_hooks(void);
void s5_same_death(void);
void s5_blocked(void);
void s7_next_touch(void);
void s9_no_signal(void);
void s9_copy(void);
void s9_recover(void);

#endif
