/* SPDX-License-Identifier: MIT */
/*
 * The action BEZ_ACTION_SHUTDOWN: a page of the region is lost, no action before
 * it could help, and the process comes to an orderly end. Once in a process; the
 * thread that met the loss sees to it and waits for no other:
 *
 *  1. the next of kin is told (bez_options.kin_fd gets a record of the loss,
 *     BEZ_OUTCOME_SHUTDOWN_BEGUN, $NOTIFY_SOCKET a word), and then that record is
 *     written;
 *  2. the hooks are run on the worker, in the order in which they were
 *     registered, until bez_options.shutdown_ns is over for all of them;
 *  3. a second record says how that went (BEZ_OUTCOME_SHUTDOWN, _LATE, _HURT,
 *     _BARE), and goes the same ways; then both are on the disk, or bezoard(8)
 *     has said that it has them (bez_options.kin_socket), for which there is
 *     half a second if there is a record_fd, else what is left of shutdown_ns;
 *  4. the process dies of the signal, with the siginfo and at the instruction
 *     of the loss, as one without bezoar, core dump included; or exits with
 *     bez_options.shutdown_status, if BEZ_START_SHUTDOWN_EXIT asks for that.
 *
 * Threads that meet a loss of such a region meanwhile stay where they are; all
 * others go on until the end. A loss inside a hook ends that hook. An early notice
 * (AO) ends nothing before the page is touched, and a loss inside a source is
 * that source's failure.
 *
 * Included by <bezoar/bezoar.h>.
 */
#ifndef BEZOAR_SHUTDOWN_H
#define BEZOAR_SHUTDOWN_H

#include <bezoar/bezoar.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define BEZ_HOOKS_MAX	16

/*
 * What is to be done before the end: save what is good, tell clients. @loss: the
 * event of step 1. Runs on the worker in normal context; other threads still run,
 * and may hold locks for ever. The rules are those of a deferred source
 * (bez_fill_fn).
 */
typedef void (*bez_hook_fn)(const struct bez_event *loss, void *arg);

/*
 * Register @fn, behind those that are. It stays so until bez_stop(), also in
 * children of fork(2), whose worker needs a bez_thread_attach().
 *
 * -EINVAL: @fn is NULL. -ENOSPC: there are BEZ_HOOKS_MAX. -ESRCH: not started.
 * Context: any; not in a handler (-EDEADLK).
 */
int bez_shutdown_hook(bez_hook_fn fn, void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
