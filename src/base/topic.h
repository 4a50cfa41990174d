/*-------------------------------------------------------------------------
 *
 * topic.h
 *		May the caller use a topic?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_TOPIC_H
#define PLINTH_TOPIC_H

#include "postgres.h"

#define PLINTH_TOPIC_SIZE 256 /* a topic and its zero */

typedef enum TopicAction
{
	TOPIC_READ,
	TOPIC_WRITE
} TopicAction;

/* 22023 unless the topic has 1 to 255 bytes. */
extern void plinth_topic_check(const char *topic);

/*
 * What realtime.may_use() says of the caller.  Runs SQL: needs an active
 * snapshot, and no lock of ours may be held.  55000 where the module
 * realtime is not installed.
 */
extern bool plinth_topic_may_use(const char *topic, TopicAction action);

/* 42501 unless it may. */
extern void plinth_topic_require(const char *topic, TopicAction action);

#endif /* PLINTH_TOPIC_H */
