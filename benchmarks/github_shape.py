"""Made events with the payloads that GitHub's have, where published ones aren't at hand. Seeded, endless."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

from benchmarks.synthetic import (
    START,
    WORDS,
    hexadecimal,
    instant,
    line,
    people_of,
    push,
    sentence,
    small_payload,
    words,
)

_USER = words(
    "login id node_id avatar_url gravatar_id url html_url followers_url following_url gists_url starred_url "
    "subscriptions_url organizations_url repos_url events_url received_events_url type site_admin"
)
_REPO = words(
    "id node_id name full_name private html_url description fork url forks_url keys_url collaborators_url teams_url "
    "hooks_url issue_events_url events_url assignees_url branches_url tags_url blobs_url git_tags_url git_refs_url "
    "trees_url statuses_url languages_url stargazers_url contributors_url subscribers_url subscription_url "
    "commits_url git_commits_url comments_url issue_comment_url contents_url compare_url merges_url archive_url "
    "downloads_url issues_url pulls_url milestones_url notifications_url labels_url releases_url deployments_url "
    "created_at updated_at pushed_at git_url ssh_url clone_url svn_url homepage size stargazers_count watchers_count "
    "language has_issues has_projects has_downloads has_wiki has_pages forks_count archived disabled "
    "open_issues_count allow_forking is_template visibility forks open_issues watchers default_branch"
)
_ISSUE = words(
    "url repository_url labels_url comments_url events_url html_url id node_id number title state locked comments "
    "created_at updated_at closed_at author_association active_lock_reason body timeline_url state_reason"
)
_PULL = words(
    "url id node_id html_url diff_url patch_url issue_url number state locked title body created_at updated_at "
    "closed_at merged_at merge_commit_sha draft commits_url review_comments_url review_comment_url comments_url "
    "statuses_url author_association active_lock_reason merged mergeable rebaseable mergeable_state comments "
    "review_comments maintainer_can_modify commits additions deletions changed_files"
)
_MILESTONE = words(
    "url html_url labels_url id node_id number title description open_issues closed_issues state created_at "
    "updated_at due_on closed_at"
)
_COMMENT = words(
    "url html_url issue_url id node_id created_at updated_at author_association body path position line commit_id"
)
_RELEASE = words(
    "url assets_url upload_url html_url id node_id tag_name target_commitish name draft prerelease created_at "
    "published_at tarball_url zipball_url body mentions_count"
)
_TEXTS = {"body": (20, 90), "description": (3, 14), "title": (3, 9), "message": (4, 20)}
_COUNTS = {"size", "forks", "open_issues", "watchers", "comments", "review_comments", "commits", "additions", "number"}
_COUNTS |= {"deletions", "changed_files", "closed_issues", "position", "line", "stargazers_count"}
_FLAGS = {"private", "fork", "archived", "disabled", "allow_forking", "is_template", "locked", "draft", "merged"}
_FLAGS |= {"site_admin", "prerelease", "maintainer_can_modify", "rebaseable", "mergeable"}
_CHOICES = {
    "type": ("User", "User", "Organization", "Bot"),
    "state": ("open", "closed"),
    "visibility": ("public",),
    "author_association": ("NONE", "MEMBER", "CONTRIBUTOR", "OWNER"),
    "default_branch": ("main", "master", "dev"),
    "language": ("Rust", "Python", "C++", None, "Go"),
    "mergeable_state": ("clean", "unknown", "blocked"),
    "active_lock_reason": (None, None, "resolved"),
    "state_reason": (None, "completed", "not_planned"),
}
_MAYBE = ("closed_at", "merged_at", "due_on", "homepage", "position", "line")


def _value(rng: Random, name: str, base: str) -> Any:
    """What a member of that name usually holds."""
    if name in _CHOICES:
        return rng.choice(_CHOICES[name])
    if name in _MAYBE and rng.random() < 0.5:
        return None
    if name in _TEXTS:
        return sentence(rng, *_TEXTS[name])
    if name.endswith("url"):
        return f"https://api.github.example/{base}/{name.removesuffix('_url')}"
    if name == "id":
        return rng.randrange(10**6, 10**10)
    if name in _FLAGS or name.startswith("has_"):
        return rng.random() < 0.2
    if name in _COUNTS or name.endswith("_count"):
        return int(rng.expovariate(0.02))
    if name.endswith(("_at", "_on")):
        return instant(START - timedelta(seconds=rng.randrange(10**8)))
    return hexadecimal(rng, 40) if name.endswith(("sha", "commit_id")) else f"{rng.choice(WORDS)}-{hexadecimal(rng, 6)}"


def _object(rng: Random, names: list[str], base: str, /, **more: Any) -> dict[str, Any]:
    return {name: _value(rng, name, base) for name in names} | more


def _user(rng: Random) -> dict[str, Any]:
    return _object(rng, _USER, f"users/{rng.choice(WORDS)}{rng.randrange(5000)}")


def _repository(rng: Random) -> dict[str, Any]:
    licence = {"key": "mit", "name": "MIT License", "spdx_id": "MIT", "node_id": hexadecimal(rng, 12)}
    more = {"owner": _user(rng), "license": licence if rng.random() < 0.6 else None, "topics": rng.sample(WORDS, 3)}
    return _object(rng, _REPO, f"repos/{rng.choice(WORDS)}/{rng.choice(WORDS)}{rng.randrange(5000)}", **more)


def _issue(rng: Random) -> dict[str, Any]:
    label = ["id", "node_id", "url", "name", "color", "default", "description"]
    milestone = _object(rng, _MILESTONE, "milestones/1", creator=_user(rng)) if rng.random() < 0.2 else None
    labels = [_object(rng, label, "labels/x") for _ in range(rng.randrange(3))]
    assignees = [_user(rng) for _ in range(rng.randrange(2))]
    reactions = {name: rng.randrange(3) for name in ("total", "heart", "hooray", "rocket", "eyes")}
    more = {
        "user": _user(rng),
        "labels": labels,
        "milestone": milestone,
        "assignees": assignees,
        "reactions": reactions,
    }
    return _object(rng, _ISSUE, f"issues/{rng.randrange(9000)}", **more)


def _side(rng: Random) -> dict[str, Any]:
    return {"label": "x:main", "ref": "main", "sha": hexadecimal(rng, 40), "user": _user(rng), "repo": _repository(rng)}


def _pull(rng: Random) -> dict[str, Any]:
    milestone = _object(rng, _MILESTONE, "milestones/1", creator=_user(rng)) if rng.random() < 0.2 else None
    reviewers = [_user(rng) for _ in range(rng.randrange(2))]
    merged_by = _user(rng) if rng.random() < 0.4 else None
    more = {"user": _user(rng), "milestone": milestone, "requested_reviewers": reviewers, "merged_by": merged_by}
    return _object(rng, _PULL, f"pulls/{rng.randrange(9000)}", **more, head=_side(rng), base=_side(rng))


def _payload(rng: Random, kind: str) -> dict[str, Any]:
    match kind:
        case "PullRequestEvent":
            return {"action": "opened", "number": rng.randrange(9000), "pull_request": _pull(rng)}
        case "PullRequestReviewCommentEvent":
            return {
                "action": "created",
                "comment": _object(rng, _COMMENT, "comments/1", user=_user(rng)),
                "pull_request": _pull(rng),
            }
        case "IssuesEvent":
            return {"action": "opened", "issue": _issue(rng)}
        case "IssueCommentEvent":
            return {
                "action": "created",
                "issue": _issue(rng),
                "comment": _object(rng, _COMMENT, "comments/1", user=_user(rng)),
            }
        case "ForkEvent":
            return {"forkee": _repository(rng)}
        case "ReleaseEvent":
            return {"action": "published", "release": _object(rng, _RELEASE, "releases/1", author=_user(rng))}
        case "MemberEvent":
            return {"action": "added", "member": _user(rng)}
        case "GollumEvent":
            return {"pages": [_object(rng, ["title", "page_name", "action", "sha", "html_url"], "wiki")]}
        case "PushEvent":
            return push(rng, "x/y")
        case _:
            return small_payload(rng, kind)


_KINDS = words(
    "PushEvent PushEvent PushEvent PushEvent PushEvent PushEvent PushEvent PushEvent CreateEvent CreateEvent "
    "WatchEvent WatchEvent PullRequestEvent PullRequestEvent IssueCommentEvent IssueCommentEvent "
    "PullRequestReviewCommentEvent IssuesEvent ForkEvent ReleaseEvent MemberEvent GollumEvent"
)


def gharchive_lines() -> Iterator[bytes]:
    """Events with the payloads that GitHub's have: hundreds of members, most of them in few of the lines."""
    rng = Random(3)
    people = people_of(rng, 2000)
    number = 28_000_000_000
    while True:
        number += rng.randrange(1, 9)
        kind = rng.choice(_KINDS)
        repo = {
            "id": rng.randrange(10**9),
            "name": f"{rng.choice(WORDS)}/{rng.choice(WORDS)}",
            "url": "https://x.example/",
        }
        event = {"id": str(number), "type": kind, "actor": rng.choice(people), "repo": repo}
        yield line(event | {"payload": _payload(rng, kind), "public": True, "created_at": instant(START)})
