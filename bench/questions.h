/* SPDX-License-Identifier: MIT */
/* All questions, in the order in which they are asked. */
#ifndef BEZOAR_BENCH_QUESTIONS_H
#define BEZOAR_BENCH_QUESTIONS_H

#include "engine.h"

extern const struct bench_question bench_resume_4k;
extern const struct bench_question bench_resume_4k_1m;
extern const struct bench_question bench_resume_2m;
extern const struct bench_question bench_resume_shared;
extern const struct bench_question bench_resume_file;
extern const struct bench_question bench_salvage_2m;
extern const struct bench_question bench_record;
extern const struct bench_question bench_lookup_1m;
extern const struct bench_question bench_register_1m;
extern const struct bench_question bench_deferred;
extern const struct bench_question bench_idle;
extern const struct bench_question bench_storm;
extern const struct bench_question bench_copy;
extern const struct bench_question bench_copy_worst;
extern const struct bench_question bench_copy_fault;
extern const struct bench_question bench_unwind;
extern const struct bench_question bench_scope;
extern const struct bench_question bench_lost_in;
extern const struct bench_question bench_hunt;
#ifdef BENCH_KV
extern const struct bench_question bench_kv;
#endif
#ifdef BENCH_HAVE_KIN
extern const struct bench_question bench_kin_rate;
#endif
#ifdef BENCH_HAVE_VMM
extern const struct bench_question bench_vm_deliver;
extern const struct bench_question bench_vm_translate_4k_slots;
extern const struct bench_question bench_vm_exit_cost;
#endif

#endif
