/*-------------------------------------------------------------------------
 *
 * router_topic.c
 *		Who follows a topic: the readers of broadcasts and of presence.
 *
 * Part of the stream worker's index, and private to it as the rest.  Whether
 * a subscriber may read from a topic was asked when it subscribed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_index.h"

#include "utils/hsearch.h"
#include "utils/timestamp.h"

struct RouterTopic
{
	char name[PLINTH_TOPIC_SIZE]; /* hash key - MUST BE FIRST */
	dlist_head members;
};

static HTAB *topics = NULL;

/*
 * Start with an empty table.
 */
void
plinth_router_reset_topics(MemoryContext context)
{
	HASHCTL info = {.keysize = PLINTH_TOPIC_SIZE,
					.entrysize = sizeof(RouterTopic),
					.hcxt = context};

	topics = hash_create("plinth router topics", 64, &info,
						 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/*
 * Enter a subscription under its topic.
 */
void
plinth_router_follow_topic(RouterLocal *local)
{
	bool found;
	RouterTopic *topic =
		hash_search(topics, local->sub.topic, HASH_ENTER, &found);

	if (!found)
		dlist_init(&topic->members);
	dlist_push_tail(&topic->members, &local->node);
	local->topic = topic;
}

/*
 * Take it out again, and its topic when that is nobody's any more.
 */
void
plinth_router_leave_topic(RouterLocal *local)
{
	RouterTopic *topic = local->topic;

	dlist_delete(&local->node);
	local->topic = NULL;
	if (dlist_is_empty(&topic->members))
		hash_search(topics, topic->name, HASH_REMOVE, NULL);
}

/*
 * Does somebody follow this topic?
 */
bool
plinth_router_wants_topic(const char *topic)
{
	if (!plinth_router_attached())
		return false;
	plinth_router_synchronize();
	return hash_search(topics, topic, HASH_FIND, NULL) != NULL;
}

/*
 * Who is to be told of an event of a topic.
 */
RouterReader *
plinth_router_topic_readers(const char *topic, uint8 event,
							const WireTransaction *txn, int *nreaders)
{
	*nreaders = 0;
	if (!plinth_router_wants_topic(topic))
		return NULL;
	return plinth_router_readers_of_topic(topic, event, txn, nreaders);
}

/*
 * Of those who are in the index.
 */
RouterReader *
plinth_router_readers_of_topic(const char *topic, uint8 event,
							   const WireTransaction *txn, int *nreaders)
{
	TimestampTz now = GetCurrentTimestamp();
	RouterReader *readers = NULL;
	RouterTopic *found = hash_search(topics, topic, HASH_FIND, NULL);
	dlist_iter iter;

	*nreaders = 0;
	if (found == NULL)
		return NULL;
	dlist_foreach (iter, &found->members)
	{
		RouterLocal *local = dlist_container(RouterLocal, node, iter.cur);

		if ((local->sub.events & event) != 0)
			readers = plinth_router_add_reader(readers, nreaders, &local->sub,
											   txn, now);
	}

	return readers;
}
