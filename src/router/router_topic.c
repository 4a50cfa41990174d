/*-------------------------------------------------------------------------
 *
 * router_topic.c
 *		Who follows a topic: the readers of broadcasts and of presence.
 *
 * Part of the stream worker's index, and private to it as the rest.  Whether
 * a subscriber may read from a topic was asked when it subscribed; who loses
 * the right later is found out by asking again, one after the other, as the
 * subscriber's role with its claims, as router_ask.c does.  A rule that fails
 * is a no; one that runs too long is asked the next time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_index.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "base/names.h"
#include "claims/claims.h"
#include "router/router_audience.h"

/* Each follower is asked again after this time, when there are not too many. */
#define TOPIC_ASK_MS 10000

/* What a turn of asking may take. */
#define TOPIC_TURN_MS 20

struct RouterTopic
{
	char name[PLINTH_TOPIC_SIZE]; /* hash key - MUST BE FIRST */
	dlist_head members;
};

/* One follower's right. */
typedef struct TopicInquiry
{
	const RouterSubscription *sub;
	char *claims; /* NULL: nobody's */
	bool may_read;
} TopicInquiry;

static HTAB *topics = NULL;
static dlist_head followers; /* who was asked first is first */

static int64 clock_ms(void);
static void ask_again(RouterLocal *local);
static void ask_right(void *arg);

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
	dlist_init(&followers);
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
	dlist_push_tail(&followers, &local->topic_node);
	local->topic = topic;
	local->asked_ms = clock_ms();
}

/*
 * Take it out again, and its topic when that is nobody's any more.
 */
void
plinth_router_leave_topic(RouterLocal *local)
{
	RouterTopic *topic = local->topic;

	dlist_delete(&local->node);
	dlist_delete(&local->topic_node);
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

/*
 * Is it somebody's turn to be asked again?
 */
bool
plinth_router_topics_due(void)
{
	return !dlist_is_empty(&followers) &&
		   clock_ms() -
				   dlist_head_element(RouterLocal, topic_node, &followers)->asked_ms >=
			   TOPIC_ASK_MS;
}

/*
 * Ask those whose turn it is, for a while.
 */
void
plinth_router_recheck_topics(void)
{
	int64 until = clock_ms() + TOPIC_TURN_MS;

	while (plinth_router_topics_due() && clock_ms() < until)
	{
		RouterLocal *local = dlist_container(RouterLocal, topic_node,
											 dlist_pop_head_node(&followers));

		CHECK_FOR_INTERRUPTS();
		local->asked_ms = clock_ms();
		dlist_push_tail(&followers, &local->topic_node);
		if (!plinth_claims_is_service_role(local->sub.role))
			ask_again(local);
	}
}

/*
 * Ask whether one may read from its topic still, and end it when not.
 */
static void
ask_again(RouterLocal *local)
{
	TopicInquiry inquiry = {.sub = &local->sub};
	int64 start = clock_ms();
	char *problem;

	/* claims that were replaced in this moment are taken in soon */
	inquiry.claims = plinth_router_text_read(&local->sub.claims);
	if (inquiry.claims == NULL && !plinth_router_text_is_none(&local->sub.claims))
		return;

	if (plinth_router_guarded(ask_right, &inquiry, &problem))
	{
		if (!inquiry.may_read)
			plinth_router_end(&local->sub,
							  "the topic is not for the subscriber any more");
	}
	else if (clock_ms() - start < plinth_router_policy_timeout)
		plinth_router_end(&local->sub,
						  psprintf("the rule of the topic failed: %s", problem));
}

/*
 * The step of ask_again().  What is set here is undone at its end, and by the
 * rollback after an error.
 */
static void
ask_right(void *arg)
{
	TopicInquiry *inquiry = arg;
	const RouterSubscription *sub = inquiry->sub;
	int level = NewGUCNestLevel();
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	(void) set_config_option("role", GetUserNameFromId(sub->role, false),
							 PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 0, false);
	XactReadOnly = true;
	SetUserIdAndSecContext(sub->role, context | SECURITY_LOCAL_USERID_CHANGE |
										  SECURITY_RESTRICTED_OPERATION);
	if (inquiry->claims != NULL)
		plinth_claims_set_verified(inquiry->claims, true);
	if (inquiry->claims != NULL && sub->stated)
		(void) set_config_option(PLINTH_CLAIMS_SETTING, inquiry->claims,
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
								 true, 0, false);
	inquiry->may_read = plinth_topic_may_use(sub->topic, TOPIC_READ);

	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(false, level);
}

static int64
clock_ms(void)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}
