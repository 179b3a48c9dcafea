import torch
from sklearn.datasets import load_wine
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = load_wine(return_X_y=True)
x = (x - x.mean(0)) / x.std(0)
xt, xv, yt, yv = train_test_split(torch.tensor(x).float(), torch.tensor(y), test_size=60, random_state=1)
loader = DataLoader(TensorDataset(xt, yt), batch_size=16, shuffle=True)
val = DataLoader(TensorDataset(xv, yv), batch_size=16)
model = nn.Sequential(nn.Linear(13, 3))
opt = torch.optim.SGD(model.parameters(), lr=0.02)
for epoch in range(3):
    for xb, yb in loader:
        loss = nn.functional.cross_entropy(model(xb), yb)
        opt.zero_grad(); loss.backward(); opt.step()
    all_preds, all_labels, all_probs = [], [], []
    model.eval()
    with torch.no_grad():
        for xb, yb in val:
            out = model(xb)
            all_probs.extend(out.softmax(1).numpy())
            all_preds.extend(out.argmax(1).cpu().numpy())
            all_labels.extend(yb.numpy())
    model.train()
    print(f"acc {accuracy_score(all_labels, all_preds):.6f} f1 {f1_score(all_labels, all_preds, average='macro'):.6f} auc {roc_auc_score(all_labels, all_probs, multi_class='ovr'):.6f}")
