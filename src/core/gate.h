/* SPDX-License-Identifier: MIT */
/*
 * Between emptying a page and filling it the page table has a hole, which the
 * threads of this process cannot look through, but a child made in that
 * moment would inherit as zeros. So fork(2) and placements keep out of each
 * other's way: a fork waits until no page is being placed, and placements
 * that come while it runs wait for it. (A bare clone(2) or _Fork() is not seen
 * here; bezoar(7) says so.)
 */
#ifndef BEZOAR_CORE_GATE_H
#define BEZOAR_CORE_GATE_H

#include "core/mm.h"

/*
 * Begin to place a page; end with bz_walk_placed(). 0, or -ETIMEDOUT: a fork
 * has been going on for 10 ms. It may be waiting for a lock that the faulting
 * thread holds, so it is not waited for any longer. Context: handler-safe.
 */
int bz_gate_enter(struct bz_mm *mm, struct bz_walk *w);

/*
 * The same for memory that only this way can place: waits for seconds, which is
 * the most that a fork is held up that waits for us. Others who wait for the
 * caller's claim wait as long. Context: handler-safe.
 */
int bz_gate_enter_late(struct bz_mm *mm, struct bz_walk *w);

/*
 * The same for what else a child must not inherit: a descriptor that is open for a
 * moment only. End with bz_gate_leave(), which gets what this said: 1, or 0: a page
 * is being placed further down, and forks are kept out until that is done. Or
 * -ETIMEDOUT: a fork has been going on for @patience_ns. Context: handler-safe.
 */
int bz_gate_hold(struct bz_mm *mm, struct bz_walk *w, uint64_t patience_ns);
void bz_gate_leave(struct bz_walk *w, int held);

/* Around fork(2). Normal context; one thread at a time. */
void bz_gate_close(struct bz_mm *mm);
void bz_gate_open(struct bz_mm *mm);

#endif
